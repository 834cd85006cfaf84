"""Signatures: a readable line that says exactly how a number was computed.

An observer's signature is its *fingerprint*: it names everything that can change an observation (weights by digest,
options, sample rate, resampler, a revision of our own code), and is half of the cache key. A metric's signature adds
what can change the summary. Two numbers with equal signatures are comparable; others are never ranked together.
The form follows sacrebleu's: ``pjsd|n:5|base:e|...``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from slm_eval.base.errors import SlmEvalError

_RESERVED = str.maketrans({"|": "/", ":": "=", "\n": " "})


@dataclass(frozen=True)
class Signature:
    """A name and ordered ``key:value`` fields.

    >>> str(Signature("dnsmos", windows="reference", rate=16000))
    'dnsmos|windows:reference|rate:16000'
    """

    name: str
    fields: dict[str, str] = field(hash=False)

    def __init__(self, name: str, /, **fields: object) -> None:
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "fields", {key: str(value).translate(_RESERVED) for key, value in fields.items()})

    def __str__(self) -> str:
        return "|".join([self.name, *(f"{key}:{value}" for key, value in self.fields.items())])

    def extend(self, name: str, /, **fields: object) -> Signature:
        """Return the signature of something computed from this: own fields first, then those it builds on."""
        return Signature(name, **fields, **{key: value for key, value in self.fields.items() if key not in fields})

    @classmethod
    def parse(cls, text: str) -> Signature:
        """Read back what ``str`` wrote.

        Raises:
            SlmEvalError: the text is not of the form ``name|key:value|...``.
        """
        name, *parts = text.split("|")
        pairs = [part.split(":", 1) for part in parts]
        if not name or any(len(pair) != 2 for pair in pairs):
            raise SlmEvalError(f"not a signature: {text!r}; expected name|key:value|...")
        return cls(name, **dict(pairs))

    def differences(self, other: Signature) -> dict[str, tuple[str | None, str | None]]:
        """Return the fields in which two signatures differ, with both values (None where one lacks the field)."""
        own, others = {"name": self.name, **self.fields}, {"name": other.name, **other.fields}
        keys = [*own, *(key for key in others if key not in own)]
        return {key: (own.get(key), others.get(key)) for key in keys if own.get(key) != others.get(key)}
