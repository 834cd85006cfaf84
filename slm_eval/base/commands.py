"""How every command of the project ends: errors are one line, with an exit status that says whose fault it was."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import click

from slm_eval.base.errors import SlmEvalError, UsageError
from slm_eval.base.terminal import visible

# Seconds in which a further Ctrl-C is taken for the same one: what the first began is put in order meanwhile.
_PATIENCE = 5.0


class Terminated(KeyboardInterrupt):
    """SIGTERM. What is put in order at Ctrl-C is put in order then, too."""


class Commands(click.Group):
    """A group whose errors are one line, and whose status says what they are.

    2: bad usage; 1: everything else that went wrong; 130 and 143: Ctrl-C and SIGTERM.

    Args:
        stopped: what to say when it is stopped by either.
    """

    def __init__(self, *args: Any, stopped: str = "stopped", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stopped = stopped

    def main(self, args: Any = None, *more: Any, **options: Any) -> Any:
        with _signals(to_the_end=args is None):  # as the program calls it, and nobody in Python
            return super().main(args, *more, **options)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise click.UsageError(visible(str(error))) from error
        except SlmEvalError as error:
            raise click.ClickException(visible(str(error))) from error
        except KeyboardInterrupt as error:
            click.echo(f"Error: {self.stopped}", err=True)
            ctx.exit(143 if isinstance(error, Terminated) else 130)


@contextmanager
def _signals(*, to_the_end: bool) -> Iterator[None]:
    """Make SIGTERM an exception as Ctrl-C is, and one stop of several signals that come together.

    Args:
        to_the_end: nothing comes afterwards: a signal while Python ends is the end, and no traceback.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    obeyed = -float("inf")

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal obeyed
        if time.monotonic() - obeyed > _PATIENCE:
            obeyed = time.monotonic()
            raise Terminated if signum == signal.SIGTERM else KeyboardInterrupt

    # What is ignored stays ignored, as by nohup.
    heard = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not signal.SIG_IGN]
    handlers = {number: signal.signal(number, stop) for number in heard}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, signal.SIG_DFL if to_the_end else handler)
