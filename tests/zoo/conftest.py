"""Every test of the zoo computes in one thread."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="module")
def _one_thread_in_the_zoo(one_thread: None) -> None:
    """As ``one_thread`` says."""
