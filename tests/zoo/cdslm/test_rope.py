"""Positions: what attention knows of them is their distance."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model_zoo.cdslm.rope import Rotation, positions, rotate, rotation
from slm_eval.base.errors import UsageError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("kind", "context", "generation"),
    [
        ("time_axis", [0, 3], [6, 9, 12]),
        ("shared", [0, 1], [2, 3, 4]),
        ("per_stream", [0, 3], [0, 3, 6]),
    ],
)
def test_positions_of_two_and_three_tokens_of_three_frames(
    kind: str, context: list[int], generation: list[int]
) -> None:
    found = positions(kind, 2, 3, 3, CPU)  # type: ignore[arg-type]
    assert [each.tolist() for each in found] == [context, generation]


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 3000), st.integers(0, 3000), st.integers(-2000, 2000))
def test_attention_depends_on_distances_alone(first: int, second: int, shift: int) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 64, generator=generator)

    def score(*where: int) -> Tensor:
        turned = [rotate(x, rotation(torch.tensor([at]), 64)) for x, at in zip((query, key), where, strict=True)]
        torch.testing.assert_close(turned[0].norm(), query.norm())
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(score(first, second), score(first + shift, second + shift), atol=1e-4, rtol=0)


def test_tables_that_were_cast_are_refused() -> None:
    """bfloat16 would turn neighbours by the same angle."""
    cast = Rotation(*(table.bfloat16() for table in rotation(torch.arange(3), 8)))
    with pytest.raises(UsageError, match=r"tables of rotary positions are float32, got torch\.bfloat16"):
        rotate(torch.zeros(1, 3, 1, 8), cast)
