"""The order in which kernels are tried."""

from __future__ import annotations

from torch.nn.attention import SDPBackend

from model_zoo.cdslm.attention import attention_backends


def test_kernels_in_order() -> None:
    assert attention_backends("cuda:0")[:2] == [SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION]
    assert attention_backends("cpu") == [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
