"""What was observed: one sound for each distinct content, and the clips that hold it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from slm_eval.observing.observer import Observation, Observer, Refusal
from slm_eval.speech.audio import AudioError, AudioFacts
from slm_eval.speech.corpus import Clip


@dataclass
class Sound:
    """One distinct content. The same audio under two names, or on both sides, is decoded and observed once."""

    clip: Clip  # one of those that hold it
    content: str | None  # digest; None for ready-made phones and for files that cannot be read
    facts: AudioFacts | None = None
    error: AudioError | None = None
    observations: dict[str, Observation | Refusal] = field(default_factory=dict)  # by observer fingerprint

    @property
    def failure(self) -> AudioError | None:
        """Return why no observer could see anything in it, or None."""
        if self.error is not None or not self.observations:
            return self.error
        refusals = [seen for seen in self.observations.values() if isinstance(seen, Refusal)]
        if len(refusals) < len(self.observations):
            return None
        return AudioError(refusals[0].code, refusals[0].message)

    def rows(self, facts: str) -> Iterator[tuple[str, str, Observation]]:
        """Yield what the store keeps: (content, fingerprint, observation); ``facts`` stands for ``self.facts``."""
        if self.content is None or self.facts is None:
            return
        yield self.content, facts, self.facts._asdict()
        for fingerprint, seen in self.observations.items():
            if isinstance(seen, dict):
                yield self.content, fingerprint, seen


@dataclass(frozen=True)
class ClipResult:
    """A clip of one side and the sound in it."""

    clip: Clip
    side: str  # "generated" or "real"
    sound: Sound

    @property
    def seconds(self) -> float | None:
        """Return the duration, where it is known."""
        return self.sound.facts.seconds if self.sound.facts else self.clip.seconds

    def to_dict(self) -> dict[str, Any]:
        """Return the clip's line of clips.jsonl."""
        failure, facts = self.sound.failure, self.sound.facts
        line: dict[str, Any] = {
            "id": self.clip.id,
            "side": self.side,
            **self.clip.labels,
            "seconds": self.seconds,
            "status": failure.code if failure else "ok",
            "error": failure.message if failure else None,
            "scores": {},
            "phones": None,
        }
        for seen in self.sound.observations.values():
            if isinstance(seen, Refusal):
                continue
            line["scores"].update(seen.get("scores", {}))
            line["phones"] = seen.get("phones", line["phones"])
            if "details" in seen:
                line.setdefault("details", {}).update(seen["details"])
        refused = {
            fingerprint.partition("|")[0]: {"code": seen.code, "message": seen.message}
            for fingerprint, seen in self.sound.observations.items()
            if isinstance(seen, Refusal)
        }
        if refused:
            line["refused"] = refused
        if facts:
            line["audio"] = {name: value for name, value in facts._asdict().items() if name != "seconds"}
        return line


def observations(clips: Iterable[ClipResult], observer: Observer) -> list[Observation]:
    """Return what an observer saw, with each clip's speaker, prompt and audio; left out are those it refused."""
    seen = ((clip, clip.sound.observations.get(str(observer.fingerprint))) for clip in clips)
    return [
        {**observation, **clip.clip.labels, "content": clip.sound.content}
        for clip, observation in seen
        if isinstance(observation, dict)
    ]
