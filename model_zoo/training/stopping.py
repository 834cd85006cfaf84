"""SIGTERM and Ctrl-C end a training after the step that is under way, so that nothing of it is lost."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether somebody asked, and by which signal first."""

    def __init__(self) -> None:
        self.signal: int | None = None

    @property
    def asked(self) -> bool:
        return self.signal is not None

    def ask(self, signum: int, frame: FrameType | None) -> None:
        """Handle a signal. The second Ctrl-C stops at once."""
        if self.asked and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = self.signal or signum


@contextmanager
def stopping(stop: Stop) -> Iterator[Stop]:
    """Listen while inside. In other threads than the main one signals are not heard, and nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {signum: signal.signal(signum, stop.ask) for signum in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
