"""How every command of the project ends: errors are one line, with an exit status that says whose fault it was."""

from __future__ import annotations

from typing import Any

import click

from slm_eval.errors import SlmEvalError, UsageError


class Commands(click.Group):
    """A group whose errors are one line: exit status 2 for bad usage, 1 for everything else that went wrong.

    Args:
        stopped: what to say when the user presses Ctrl-C.
    """

    def __init__(self, *args: Any, stopped: str = "stopped", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stopped = stopped

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except UsageError as error:
            raise click.UsageError(str(error)) from error
        except SlmEvalError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt:
            raise click.ClickException(self.stopped) from None
