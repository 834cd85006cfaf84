"""Which clips one of many machines scores: the share "3/16" of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from slm_eval.base.errors import UsageError
from slm_eval.speech.corpus import Corpus

# What SLURM sets in every task of an array job.
_SLURM = {part: f"SLURM_ARRAY_TASK_{part}" for part in ("ID", "MIN", "MAX", "COUNT", "STEP")}


@dataclass(frozen=True, order=True, kw_only=True)
class Share:
    """The ``index``-th of ``count`` shares, from 1."""

    count: int
    index: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def select(self, corpus: Corpus) -> Corpus:
        """Return every ``count``-th clip in the order of ids.

        Neighbours in that order are alike (one speaker, one book, one folder of long clips), so that each share gets
        its part of all kinds; blocks would leave one machine with all of the long clips.
        """
        return replace(corpus, clips=corpus.clips[self.index - 1 :: self.count])


def parse_share(text: str, environment: Mapping[str, str] = os.environ) -> Share:
    """Read "3/16", or "slurm" for the task of an array job that this process is.

    Raises:
        UsageError: another text; not in an array job, or one whose tasks are not evenly numbered.
    """
    if text == "slurm":
        return _slurm_share(environment)
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard {text!r}: expected the number of a shard of how many, such as 3/16, or slurm")
    return Share(index=int(match[1]), count=int(match[2]))


def _slurm_share(environment: Mapping[str, str]) -> Share:
    """Return the share of a task. They are numbered from any number, in any step: ``--array=0-30:2`` has 16."""
    absent = [name for name in _SLURM.values() if not environment.get(name, "").isdecimal()]
    if absent:
        raise UsageError(
            f"--shard slurm: no number in {', '.join(absent)}, so this is no array job; "
            "start it by sbatch --array=1-16, or say --shard 3/16"
        )
    task, first, last, count, step = (int(environment[name]) for name in _SLURM.values())
    index, rest = divmod(task - first, max(step, 1))
    if rest or (last - first) // max(step, 1) + 1 != count or not 0 <= index < count:
        raise UsageError(
            f"--shard slurm: task {task} of an array of {count} from {first} to {last} by {step} is not evenly numbered"
            ", so its share is not known; say --shard 3/16"
        )
    return Share(index=index + 1, count=count)
