"""Shards of random numbers, for tests of what reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from model_zoo.data.moments import Moments
from model_zoo.data.shards import Entry, MelShards, Split, write_index, write_shard
from model_zoo.features import FeatureSpec

Lengths = dict[tuple[str, str, Split], int]  # (id, group, split) -> frames


def made(folder: Path, lengths: Lengths, spec: FeatureSpec | None = None, per_shard: int = 3) -> MelShards:
    """Recordings of these lengths, whose every value is another one."""
    spec = spec or FeatureSpec()
    entries = []
    for (name, group, split), frames in sorted(lengths.items()):
        rng = np.random.default_rng(sum(name.encode()))
        mel = rng.normal(-2, 1, (frames, spec.n_mels)).clip(-5).astype(np.float16)
        entries.append(Entry(name, group, split, digest=f"of {name}", mel=mel, moments=Moments.from_frames(mel)))
    shards = [entries[at : at + per_shard] for at in range(0, len(entries), per_shard)]
    for number, shard in enumerate(shards):
        write_shard(folder, number, shard, {}, spec.n_mels)
    write_index(folder, spec, {"split": {"seed": 0, "validation": 0.5}}, len(shards), {})
    return MelShards.open(folder)
