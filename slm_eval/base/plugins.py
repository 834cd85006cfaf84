"""Classes by name: ours, and those that other packages declare by entry points; imported when they are used.

A third party adds a metric or a recogniser by an entry point in the group ``slm_eval.metrics`` or
``slm_eval.recognizers``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from slm_eval.base.errors import SlmEvalError, unknown_name


@dataclass(frozen=True)
class Plugins:
    """Subclasses of one class by their names.

    Attributes:
        kind: what they are, in messages: "metric".
        group: of the entry points by which other packages add theirs.
        ours: name -> "module:attribute".
    """

    kind: str
    group: str
    ours: Mapping[str, str]

    @property
    def table(self) -> dict[str, str]:
        """Name -> "module:attribute": ours first; another package cannot take the name of one of ours."""
        return {**self.ours, **{e.name: e.value for e in entry_points(group=self.group) if e.name not in self.ours}}

    def load(self, name: str, base: type) -> Any:
        """Return the class of a name, a subclass of ``base``.

        Raises:
            UsageError: no such name; the message has near ones.
            SlmEvalError: what it stands for cannot be imported, is no subclass of ``base``, or has another name.
        """
        if name not in self.table:
            raise unknown_name(self.kind, name, self.table)
        where = self.table[name]
        module, _, attribute = where.partition(":")
        with self.others_code(name):
            loaded = getattr(import_module(module), attribute)
        if not (isinstance(loaded, type) and issubclass(loaded, base)):
            raise SlmEvalError(f"{self.kind} {name!r} must be a subclass of {base.__name__}, got {where}")
        called = getattr(loaded, "name", None)
        if called != name:
            raise SlmEvalError(f"{self.kind} {name!r} is {where}, whose name is {called!r}; both must be the same")
        return loaded

    @contextmanager
    def others_code(self, name: str) -> Iterator[None]:
        """Turn what goes wrong in the code of another package into one line that names it, without a traceback.

        Raises:
            SlmEvalError: in place of any error, where the name is that of another package's entry point.
        """
        try:
            yield
        except SlmEvalError:
            raise
        except (Exception, SystemExit) as error:
            if name in self.ours or name not in self.table:
                raise
            raise SlmEvalError(
                f"the {self.kind} {name!r} of another package ({self.table[name]}) cannot be used: "
                f"{type(error).__name__}: {error}; update or remove that package"
            ) from error

    def states(self, make: Any) -> list[tuple[str, str]]:
        """Return each name with "ready" or what is missing; downloads nothing.

        Args:
            make: makes one by its name; it has ``missing()``.
        """
        return [(name, self._state(name, make)) for name in self.table]

    def _state(self, name: str, make: Any) -> str:
        try:
            with self.others_code(name):
                return make(name).missing() or "ready"
        except SlmEvalError as error:
            return str(error)
