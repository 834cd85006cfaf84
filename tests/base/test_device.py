"""Devices: a name that is not here is refused, and nothing else is taken for it."""

from __future__ import annotations

import pytest

from slm_eval.base.device import resolve_device
from slm_eval.base.errors import UsageError


def test_devices() -> None:
    assert resolve_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="device 'cuda:-1' is not here"):
        resolve_device("cuda:-1")
