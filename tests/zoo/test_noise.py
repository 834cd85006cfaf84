"""Noise is a function of its key: nothing drawn before, beside or elsewhere changes it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from model_zoo.noise import generator, normal, sampling_noise, stratified_timesteps, training_noise

SHAPE = (40, 80)


def test_frozen_values() -> None:
    """Written down from numpy 2.4.6: should a numpy draw otherwise, samples of this seed are no longer the same."""
    drawn = normal((4,), 0, "sampling", "clip-1", 0)
    torch.testing.assert_close(
        drawn, torch.tensor([-2.32314825, 0.24829330, -1.20882070, 1.52092528]), rtol=0, atol=1e-7
    )


def test_every_part_of_the_key_counts() -> None:
    keys = [
        (0, "sampling", "a", 0),
        (1, "sampling", "a", 0),
        (0, "validation", "a", 0),
        (0, "sampling", "b", 0),
        (0, "sampling", "a", 1),
        (0, "sampling", "a"),
        (0, "sampling", 1, 2),
        (0, "sampling", 12),
        (0, "sampling", "1", "2"),
        (0, "sampling", '1", "2'),
        (-1, "sampling", "é\udcff"),  # names of files that are not UTF-8 come like this
    ]
    drawn = {normal((2,), *key).numpy().tobytes() for key in keys}  # type: ignore[arg-type]
    assert len(drawn) == len(keys)


def test_neither_global_state_nor_order_counts() -> None:
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002
    before = sampling_noise(["a", "b", "c"], SHAPE, seed=3)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    assert torch.equal(sampling_noise(["c", "a"], SHAPE, seed=3), before[[2, 0]])


def test_ranks_and_resumed_runs_draw_what_one_uninterrupted_run_draws() -> None:
    whole = [training_noise(torch.empty(4, *SHAPE), seed=5, step=step) for step in range(3)]
    for step, rank in itertools.product((2, 0, 1), (1, 0)):
        part = training_noise(torch.empty(2, *SHAPE), seed=5, step=step, first=2 * rank)
        assert torch.equal(part, whole[step][2 * rank : 2 * rank + 2])
    rows = torch.cat(whole).flatten(1)
    assert len(torch.unique(rows, dim=0)) == 12


def test_standard_normal_and_independent() -> None:
    """Noise of 400 neighbouring keys: the distribution, and no correlation between keys."""
    rows = np.stack([normal((500,), 0, "training", step, index) for step in range(20) for index in range(20)])
    assert stats.kstest(rows.ravel(), "norm").pvalue > 1e-3
    correlation = np.corrcoef(rows)[np.triu_indices(400, 1)]
    assert stats.kstest(correlation * np.sqrt(500), "norm").pvalue > 1e-3


def test_uniforms_of_neighbouring_steps() -> None:
    shifts = [generator(0, "timesteps", step).random() for step in range(2000)]
    assert stats.kstest(shifts, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("n_steps", [100, 1000, 4000])
@pytest.mark.parametrize("batch", [1, 7, 64])
def test_one_timestep_in_each_part_of_the_schedule(n_steps: int, batch: int) -> None:
    for step in range(20):
        t = stratified_timesteps(n_steps, batch, seed=0, step=step)
        assert t.dtype == torch.int64
        low = np.floor(n_steps * np.arange(batch) / batch)
        high = np.floor(n_steps * np.arange(1, batch + 1) / batch)
        assert (low <= t.numpy()).all()
        assert (t.numpy() <= np.minimum(high, n_steps - 1)).all()


def test_all_timesteps_are_equally_likely() -> None:
    drawn = torch.cat([stratified_timesteps(20, 3, seed=0, step=step) for step in range(4000)])
    counts = torch.bincount(drawn, minlength=20)
    assert len(counts) == 20
    assert abs(counts / 600 - 1).max() < 0.2


def test_timesteps_of_ranks_are_parts_of_one_global_batch() -> None:
    whole = stratified_timesteps(1000, 12, seed=4, step=9)
    ranks = [stratified_timesteps(1000, 12, seed=4, step=9, first=first, count=4) for first in (0, 4, 8)]
    assert torch.equal(torch.cat(ranks), whole)
    assert not torch.equal(stratified_timesteps(1000, 12, seed=4, step=10), whole)
