"""Full float32 on every device, whatever the caller allows elsewhere (TF32, bf16)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def exact_float32() -> Iterator[None]:
    """Compute products, convolutions and recurrent layers in IEEE float32, reproducibly and without gradients.

    The caller's settings are put back. They are read and written through the attributes of PyTorch 2.9, since its
    older functions raise an error once somebody has used the new ones; older versions have only those functions.
    """
    backends: Any = torch.backends
    settings: list[tuple[Any, str, Any]] = [
        (backends.cudnn, "benchmark", False),
        (backends.cudnn, "deterministic", True),
    ]
    by_attribute = hasattr(backends, "fp32_precision")
    if by_attribute:
        cudnn, mkldnn = backends.cudnn, backends.mkldnn
        operations = (cudnn.conv, cudnn.rnn, backends.cuda.matmul, mkldnn.conv, mkldnn.rnn, mkldnn.matmul)
        settings += [(operation, "fp32_precision", "ieee") for operation in operations]
    else:
        settings.append((backends.cudnn, "allow_tf32", False))
    before = [getattr(owner, name) for owner, name, _ in settings]
    matmul = None if by_attribute else torch.get_float32_matmul_precision()
    try:
        for owner, name, value in settings:
            setattr(owner, name, value)
        if matmul is not None:
            torch.set_float32_matmul_precision("highest")
        with torch.inference_mode():
            yield
    finally:
        for (owner, name, _), value in zip(settings, before, strict=True):
            setattr(owner, name, value)
        if matmul is not None:
            torch.set_float32_matmul_precision(matmul)
