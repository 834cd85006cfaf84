"""Names of devices, checked: no silent fallback to the CPU."""

from __future__ import annotations

import re

from slm_eval.base.errors import UsageError


def resolve_device(device: str) -> str:
    """Return the name of a device that is here; "auto" becomes "cuda:0" where there is one, else "cpu".

    Raises:
        UsageError: a CUDA device that is not there. There is no silent fallback to the CPU.
    """
    import torch

    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    cuda = re.fullmatch(r"cuda(?::(\d{1,4}))?", device)
    if device == "cpu" or (cuda and int(cuda[1] or 0) < torch.cuda.device_count()):
        return device
    raise UsageError(f"device {device!r} is not here; there are: {', '.join(available_devices())}")


def available_devices() -> list[str]:
    """Return the names that ``resolve_device`` accepts on this machine."""
    import torch

    return ["auto", "cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
