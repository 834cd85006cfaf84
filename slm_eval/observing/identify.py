"""Which sounds a corpus holds: every file digested, and again where it was written to since."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tqdm import tqdm

from slm_eval.base.digests import content_digest
from slm_eval.observing.sounds import ClipResult, Sound
from slm_eval.speech.audio import AudioError
from slm_eval.speech.corpus import Clip, Corpus
from slm_eval.speech.decoding import why_unreadable

# Bytes of a file: 16 hours of studio sound. A sparse file of any size takes no space, and years to digest.
_LARGEST_FILE = 1 << 34
READERS = 4  # threads that digest files: enough to keep a disk busy, and hashing releases the GIL


def identify(corpora: dict[str, Corpus], *, progress: bool) -> dict[str, list[ClipResult]]:
    """Digest every file, which is cheap beside decoding, and all that a cached run has to read."""
    sounds: dict[str | None, Sound] = {}
    results: dict[str, list[ClipResult]] = {side: [] for side in corpora}
    readers = ThreadPoolExecutor(READERS)
    try:
        for side, corpus in corpora.items():
            digests = readers.map(_digest, corpus.clips)
            bar = tqdm(corpus.clips, f"reading {side}", unit="clip", leave=False, disable=not progress)
            for clip, digest in zip(bar, digests, strict=True):
                results[side].append(ClipResult(clip, side, _sound(clip, digest, sounds)))
    finally:
        readers.shutdown(cancel_futures=True)  # at Ctrl-C, thousands of files may be waiting
    return results


def _sound(clip: Clip, digest: str | AudioError | None, sounds: dict[str | None, Sound]) -> Sound:
    """Return the sound of a clip: one for each content; ready-made phones and unreadable files have their own."""
    if isinstance(digest, AudioError):
        return Sound(clip, None, error=digest)
    return Sound(clip, None) if digest is None else sounds.setdefault(digest, Sound(clip, digest))


def distinct(clips: dict[str, list[ClipResult]]) -> list[Sound]:
    """Return each sound once."""
    return list({id(clip.sound): clip.sound for side in clips.values() for clip in side}.values())


def identify_again(clips: dict[str, list[ClipResult]], replaced: Sequence[Sound]) -> None:
    """Digest those clips again whose files were written to since: what they hold now is what is observed."""
    if not replaced:
        return
    stale = {id(sound) for sound in replaced}
    sounds = {sound.content: sound for sound in distinct(clips) if id(sound) not in stale}
    for side in clips.values():
        for index, clip in enumerate(side):
            if id(clip.sound) in stale:
                side[index] = replace(clip, sound=_sound(clip.clip, _digest(clip.clip), sounds))


def give_up(sound: Sound) -> None:
    """Note that a file never stays the same: it cannot be scored, for want of a digest to keep its scores under."""
    assert sound.clip.path is not None
    line = f"{sound.clip.path.name} is being written to; run again when it is finished"
    sound.error, sound.facts, sound.observations = AudioError("decode_error", line), None, {}


def _digest(clip: Clip) -> str | AudioError | None:
    """Return what identifies the audio of a clip; None for ready-made phones."""
    if clip.path is None:
        return None
    try:
        size = clip.path.stat().st_size
        if size > _LARGEST_FILE:
            line = f"{clip.path.name} has {size / 2**30:,.0f} GiB; at most {_LARGEST_FILE >> 30} are read"
            return AudioError("too_long", line)
        return content_digest(clip.path, clip.start, clip.end)
    except PermissionError as error:
        return AudioError("permission", f"cannot open {clip.path.name}: {error.strerror}; check its permissions")
    except OSError as error:
        return AudioError("decode_error", f"cannot read {clip.path.name}: {why_unreadable(clip.path, error)}")
