"""Phone recognisers, one file each: observers whose observation is ``{"phones": [...]}``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slm_eval.observing.observer import Observer
    from slm_eval.observing.options import RunOptions
    from slm_eval.speech.corpus import Corpus


def recognise(corpus: Corpus, recognizer: Observer, options: RunOptions) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the phones of every clip, as lines of a phones.jsonl, and a line about each clip that has none.

    Raises:
        SlmEvalError: the corpus has no audio, or the recogniser cannot run here.
    """
    from slm_eval.base.errors import SlmEvalError, UsageError
    from slm_eval.observing.observe import observe

    options.require_usable()
    if not corpus.has_audio:
        raise UsageError(f"{corpus.path} holds phones already")
    reason = recognizer.missing()
    if reason is not None:
        raise SlmEvalError(f"{recognizer.name} cannot run: {reason}")
    fingerprint = str(recognizer.fingerprint)
    lines, failures = [], []
    for clip in observe({"audio": corpus}, [recognizer], options)["audio"]:
        if clip.sound.failure:
            failures.append(f"{clip.clip.id}: {clip.sound.failure.code}, {clip.sound.failure}")
        else:
            seen = clip.sound.observations[fingerprint]
            assert isinstance(seen, dict)
            lines.append(
                {
                    "id": clip.clip.id,
                    **clip.clip.labels,
                    "phones": seen["phones"],
                    "seconds": clip.seconds,
                    "recognizer": fingerprint,
                }
            )
    return lines, failures
