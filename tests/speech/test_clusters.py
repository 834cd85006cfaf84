"""Which clips are drawn together."""

from __future__ import annotations

from slm_eval.speech.clusters import Clusters


def test_speakers_before_prompts_before_clips() -> None:
    both = [{"speaker": s, "prompt": p} for s, p in ("ax", "ay", "bx", "by")]
    assert Clusters.from_clips(both).to_dict() == {"by": "speaker", "n": 2}
    prompts = Clusters.from_clips([{"prompt": "x"}, {"prompt": "y"}, {"prompt": "x"}])
    assert (prompts.by, prompts.numbered.tolist()) == ("prompt", [0, 1, 0])
    assert Clusters.from_clips([{}, {}]).to_dict() == {"by": "clip", "n": 2}
    assert Clusters.from_clips([]).to_dict() == {"by": "clip", "n": 0}


def test_clips_without_the_label_stand_for_themselves() -> None:
    some = Clusters.from_clips([{"speaker": "a"}, {}, {"speaker": "a"}, {"speaker": None}])
    assert some.to_dict() == {"by": "speaker", "n": 3}
    labels = some.labels
    assert labels[0] == labels[2]
    assert len({labels[0], labels[1], labels[3]}) == 3
