"""What every vocoder refuses, and what tells one from another."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from model_zoo.features import FeatureSpec
from model_zoo.vocoder.griffin_lim import GriffinLim
from model_zoo.vocoder.loading import load_vocoder
from slm_eval.base.errors import SlmEvalError

SPEC = FeatureSpec()


@pytest.mark.parametrize(
    ("mels", "message"),
    [
        (torch.zeros(10, 80), r"shape \(batch, frames, 80\), got \(10, 80\)"),
        (torch.zeros(1, 80, 10), r"shape \(batch, frames, 80\), got \(1, 80, 10\)"),
        (torch.zeros(1, 0, 80), r"got \(1, 0, 80\)"),
        (torch.full((1, 9, 80), math.nan), "NaN or infinite"),
    ],
)
def test_mels_that_are_none(mels: torch.Tensor, message: str) -> None:
    with pytest.raises(SlmEvalError, match=message):
        GriffinLim(SPEC)(mels)


def test_digest_identifies_what_was_done() -> None:
    digests = [
        GriffinLim(SPEC).digest,
        GriffinLim(SPEC, iterations=32).digest,
        GriffinLim(SPEC, momentum=0.0).digest,
        GriffinLim(replace(SPEC, mel_floor=None)).digest,
    ]
    assert len(set(digests)) == 4
    assert load_vocoder("griffin-lim", "cpu").digest == digests[0]
