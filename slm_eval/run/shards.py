"""One run over many machines: each observes its share of the clips, and merging summarises what all of them saw.

    slm-eval run ... --shard 3/16      ->  shard.json and clips.jsonl of a share
    slm-eval merge SHARD... -o DIR     ->  what the run without shards writes, to the last byte

``shard.json`` says what was asked for and which clips the whole run has, and holds every observation of its share.
Merging reads nothing else: no audio, no weights, no cache. clips.jsonl lies beside it for people to look at.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from slm_eval._version import __version__
from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.files import dump, write_jsonl, write_whole
from slm_eval.base.strict_json import parse, read_text
from slm_eval.metrics.metric import Metric, NotComputed
from slm_eval.observing.observe import observe
from slm_eval.observing.observer import Refusal
from slm_eval.observing.options import RunOptions
from slm_eval.observing.sounds import ClipResult, Sound
from slm_eval.run.evaluate import plan
from slm_eval.run.evaluation import SCHEMA, Evaluation
from slm_eval.run.fields import CLIP, CORPUS, SIDES, malformed
from slm_eval.run.identity import SHARD, about, base, refuse_other_kind
from slm_eval.run.share import Share
from slm_eval.speech.audio import AudioError, AudioFacts
from slm_eval.speech.corpus import Clip, Corpus

_MAX_BYTES = 4 << 30  # a million clips with their phones are 1 GB
# Of a clip; where its audio lies is of no use on another machine, and ready-made phones are among the observations.
_CLIP_FIELDS = [clip_field.name for clip_field in fields(Clip) if clip_field.name not in {"path", "phones"}]


@dataclass(frozen=True)
class Shard:
    """What one share of a run found out.

    Attributes:
        name: for messages; its folder.
        share: which of the clips it has.
        run: what all shards of a run have in common, as JSON values: version, corpora, metrics, named.
        seen: its clips, observed; nothing is summarised.
        asked: what identifies the run, as in summary.json; see ``identity``.
    """

    name: str
    share: Share
    run: dict[str, Any]
    seen: Evaluation
    asked: dict[str, Any] = field(default_factory=dict)

    @property
    def named(self) -> bool:
        """Return whether the metrics were asked for by name, so that one that is left out is missing."""
        return bool(self.run["named"])

    @property
    def fingerprints(self) -> list[str]:
        """Return the fingerprints of the observers, each once."""
        return list(dict.fromkeys(metric["fingerprint"] for metric in self.run["metrics"]))


def observe_share(
    generated: str | os.PathLike[str] | Corpus,
    real: str | os.PathLike[str] | Corpus,
    share: Share,
    metrics: Sequence[Metric | str] | None = None,
    options: RunOptions | None = None,
    *,
    named: bool = False,
    asked: Mapping[str, Any] | None = None,
) -> Shard:
    """Observe one share of what ``evaluate`` would; the other arguments and errors are those of ``evaluate``."""
    options = options or RunOptions()
    options.require_usable()
    corpora, runnable, left_out = plan(generated, real, metrics)
    run = {
        "version": __version__,
        "corpora": {side: _listing(corpus) for side, corpus in corpora.items()},
        "metrics": [_recipe(metric) for metric in runnable],
        "named": named,
    }
    parts = {side: share.select(corpus) for side, corpus in corpora.items()}
    clips = observe(parts, [metric.observer for metric in runnable], options)
    return Shard(f"shard {share}", share, run, Evaluation(parts, clips, {}, left_out), dict(asked or {}))


def write_shard(shard: Shard, folder: Path) -> None:
    """Write clips.jsonl, then shard.json: a folder with the latter is a finished shard.

    Raises:
        UsageError: the folder holds a finished run.
        SlmEvalError: it cannot be written.
    """
    refuse_other_kind(folder, shard=True)
    write_jsonl(folder / "clips.jsonl", (clip.to_dict() for side in shard.seen.clips.values() for clip in side))
    paths = [corpus.path for corpus in shard.seen.corpora.values()]
    content = {
        "schema": SCHEMA,
        **shard.run,
        "index": shard.share.index,
        "count": shard.share.count,
        "not_computed": {key: vars(absent) for key, absent in shard.seen.not_computed.items()},
        "environment": {
            **shard.seen.environment,
            "run": base(folder, paths) | shard.asked | {"shard": str(shard.share)},
        },
        "clips": {
            side: [_record(clip, shard.fingerprints) for clip in clips] for side, clips in shard.seen.clips.items()
        },
    }
    write_whole(folder / SHARD, [dump({"digest": _digest(content), **content}), "\n"])


def read_shard(folder: Path) -> Shard:
    """Read what ``write_shard`` wrote.

    Raises:
        UsageError: there is no shard.
        SlmEvalError: it is damaged, was changed by hand, or is of another version.
    """
    path = folder / SHARD
    if not path.is_file():
        got = "a finished run" if (folder / "summary.json").is_file() else f"a folder without {SHARD}"
        raise UsageError(f"{folder} must be a shard, got {got}; `slm-eval run --shard 3/16` writes a shard")
    try:
        content = parse(read_text(path, _MAX_BYTES))
        digest = content.pop("digest")
        whole = digest == _digest(content)
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        raise SlmEvalError(f"{path} cannot be read ({error}); run that shard again") from error
    if not whole:
        raise SlmEvalError(f"{path} was changed after it was written; run that shard again")
    if (content.get("schema"), content.get("version")) != (SCHEMA, __version__):
        raise SlmEvalError(
            f"{path} is of slm-eval {str(content.get('version'))[:40]}, this is {__version__}; run the shards again "
            "with this one (what was observed is cached), or merge them with that one"
        )
    # The digest tells of damage; somebody who writes a shard by hand can write that too.
    try:
        _require_parts(content)
        return _restore(str(folder), content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise SlmEvalError(f"{path} is not what a run writes ({repr(error)[:200]}); run that shard again") from error


def _require_parts(content: dict[str, Any]) -> None:
    """Check what is not looked at before shards are summarised.

    Raises:
        ValueError, KeyError, TypeError, AttributeError: a part is missing, or holds something else.
    """
    if not content["corpora"].keys() == content["clips"].keys() == {*SIDES}:
        raise ValueError(f"corpora and clips must be of {' and '.join(SIDES)}, got {[*content['corpora']]}")
    for corpus in content["corpora"].values():
        if malformed(corpus, CORPUS) is not None or not isinstance(corpus["ids"], str) or "n_total" not in corpus:
            raise ValueError(f"a corpus must have path, n_total and ids, got {corpus!r}")
    for recipe in content["metrics"]:
        match recipe:
            case {"name": str(), "keys": [*_], "options": dict(), "fingerprint": str()}:
                continue
        raise ValueError(f"a metric must have name, keys, options and fingerprint, got {recipe!r}")
    for record in (record for records in content["clips"].values() for record in records):
        for observation in record["observations"]:
            if observation is not None and malformed(observation, CLIP) is not None:
                raise ValueError(f"the observations of {str(record['id'])[:80]!r} must be scores or phones")


def _restore(name: str, content: dict[str, Any]) -> Shard:
    share = Share(index=content["index"], count=content["count"])
    run = {part: content[part] for part in ("version", "corpora", "metrics", "named")}
    asked = {key: value for key, value in about(content).items() if key not in {"base", "shard"}}
    environment = {name: value for name, value in content["environment"].items() if name != "run"}
    shard = Shard(name, share, run, Evaluation({}, {}, {}, {}))
    clips = {
        side: [_clip(side, record, shard.fingerprints) for record in records]
        for side, records in content["clips"].items()
    }
    corpora = {
        side: Corpus(corpus["path"], tuple(clip.clip for clip in clips[side]), corpus["ignored"], corpus["provenance"])
        for side, corpus in run["corpora"].items()
    }
    left_out = {key: NotComputed(**absent) for key, absent in content["not_computed"].items()}
    return replace(shard, seen=Evaluation(corpora, clips, {}, left_out, environment), asked=asked)


def _listing(corpus: Corpus) -> dict[str, Any]:
    """Return what identifies the clips of the whole run, and what its summary says of where they come from."""
    return {
        "path": corpus.path,
        "n_total": len(corpus.clips),
        "ids": ids_digest(clip.id for clip in corpus.clips),
        "ignored": corpus.ignored,
        "provenance": corpus.provenance,
    }


def ids_digest(ids: Any) -> str:
    """Digest ids in any order."""
    return hashlib.sha256(dump(sorted(ids)).encode()).hexdigest()


def _recipe(metric: Metric) -> dict[str, Any]:
    """Return all that is needed to summarise again what this metric's observer saw."""
    return {
        "name": metric.name,
        "keys": list(metric.keys),
        "options": metric.options,
        "fingerprint": str(metric.observer.fingerprint),
    }


def _record(clip: ClipResult, fingerprints: Sequence[str]) -> dict[str, Any]:
    """Return a clip as JSON values; observations and refusals in the order of the fingerprints."""
    sound = clip.sound
    seen = [sound.observations.get(fingerprint) for fingerprint in fingerprints]
    return {
        **{name: getattr(clip.clip, name) for name in _CLIP_FIELDS},
        "content": sound.content,
        "facts": sound.facts._asdict() if sound.facts else None,
        "error": [sound.error.code, sound.error.message] if sound.error else None,
        "observations": [None if isinstance(result, Refusal) else result for result in seen],
        "refusals": [[result.code, result.message] if isinstance(result, Refusal) else None for result in seen],
    }


def _clip(side: str, record: dict[str, Any], fingerprints: Sequence[str]) -> ClipResult:
    """Undo ``_record``."""
    clip = Clip(**{name: record[name] for name in _CLIP_FIELDS})
    seen = {
        fingerprint: Refusal(*refusal) if refusal else observation
        for fingerprint, observation, refusal in zip(
            fingerprints, record["observations"], record["refusals"], strict=True
        )
        if refusal or observation is not None
    }
    facts = AudioFacts(**record["facts"]) if record["facts"] else None
    error = AudioError(*record["error"]) if record["error"] else None
    return ClipResult(clip, side, Sound(clip, record["content"], facts, error, seen))


def _digest(content: dict[str, Any]) -> str:
    """Digest JSON values, of which equal ones have equal texts: floats are written to the last bit."""
    return hashlib.sha256(dump(content).encode()).hexdigest()
