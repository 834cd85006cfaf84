"""The network: whatever the batch, and as PyTorch's packed sequences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from slm_eval.observing.phones.allosaurus.blstm import BLSTM
from slm_eval.observing.phones.allosaurus.frontend import FrontEnd
from slm_eval.observing.phones.allosaurus.observer import to_int16_scale
from slm_eval.observing.phones.allosaurus.settings import FrontEndConfig, NetworkConfig
from tests.observing.phones.allosaurus.standin import random_state


def test_logits_do_not_depend_on_the_batch_in_any_bit(model: Path, clips: list[np.ndarray]) -> None:
    front_end, network = FrontEnd(FrontEndConfig(), "cpu"), BLSTM(random_state(), 5, "cpu")
    scaled = [to_int16_scale(clip) for clip in clips]
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = [network(front_end([clip]))[0] for clip in scaled]
        for count in (1, 2, 4):
            torch.set_num_threads(count)
            for batch in (5, len(scaled)):
                together = [
                    logits
                    for first in range(0, len(scaled), batch)
                    for logits in network(front_end(scaled[first : first + batch]))
                ]
                assert all(torch.equal(one, other) for one, other in zip(alone, together, strict=True))
            assert torch.get_num_threads() == count
    finally:
        torch.set_num_threads(threads)


def test_shapes_that_are_fixed_give_the_same_phones(model: Path, clips: list[np.ndarray]) -> None:
    """What CUDA does, on the CPU."""
    features = FrontEnd(FrontEndConfig(), "cpu")([to_int16_scale(clip) for clip in clips])
    free, fixed = (BLSTM(random_state(), 5, "cpu") for _ in range(2))
    fixed._fixed_shape = True
    for one, other in zip(free(features), fixed(features), strict=True):
        assert torch.allclose(one, other, atol=1e-4)


def test_network_matches_a_packed_torch_lstm() -> None:
    """The architecture, against torch's own bidirectional LSTM over packed sequences."""
    lengths, config = (150, 129, 64, 64, 3, 1), NetworkConfig(hidden=24, layers=3, phones=11)
    state = random_state(3, hidden=24, layers=3, phones=11)
    assert {name: tuple(tensor.shape) for name, tensor in state.items()} == config.shapes()
    random = torch.Generator().manual_seed(1)
    features = [torch.randn(length, 120, generator=random) for length in lengths]
    lstm = torch.nn.LSTM(120, 24, num_layers=3, bidirectional=True)
    lstm.load_state_dict({k.removeprefix("blstm_layer."): v for k, v in state.items() if k.startswith("blstm")})
    with torch.no_grad():
        hidden, _ = lstm(torch.nn.utils.rnn.pack_sequence(features))
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(hidden)
        expected = expected @ state["phone_layer.weight"].T + state["phone_layer.bias"]
        order = [4, 0, 5, 2, 1, 3]
        for index, logits in zip(order, BLSTM(state, 3, "cpu")([features[index] for index in order]), strict=True):
            assert torch.allclose(logits, expected[: lengths[index], index], atol=1e-4)
