"""What a model directory may choose, as plain values: no torch here."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class FrontEndConfig:
    """From ``pm_config.json``; rate, window, shift, pre-emphasis and lifter are fixed."""

    bands: int = 40
    cepstra: int = 40
    low: float = 40.0  # Hz
    high: float = 3800.0  # Hz


@dataclass(frozen=True)
class NetworkConfig:
    """From ``am_config.json``; the published values."""

    inputs: int = 120  # three frames of cepstra
    hidden: int = 320  # per direction
    layers: int = 5
    phones: int = 230  # with the blank

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return names and shapes of all tensors; gates are stacked as in PyTorch: input, forget, cell, output."""
        gates = 4 * self.hidden
        shapes: dict[str, tuple[int, ...]] = {
            "phone_layer.weight": (self.phones, 2 * self.hidden),
            "phone_layer.bias": (self.phones,),
        }
        for layer in range(self.layers):
            inputs = self.inputs if layer == 0 else 2 * self.hidden
            for end in (f"l{layer}", f"l{layer}_reverse"):
                shapes[f"blstm_layer.weight_ih_{end}"] = (gates, inputs)
                shapes[f"blstm_layer.weight_hh_{end}"] = (gates, self.hidden)
                shapes[f"blstm_layer.bias_ih_{end}"] = (gates,)
                shapes[f"blstm_layer.bias_hh_{end}"] = (gates,)
        return shapes
