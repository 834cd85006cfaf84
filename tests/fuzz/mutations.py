"""Files turned into ones that nobody should write: by value, where they are JSON, or by byte."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

# Values that were tracebacks, or wrong numbers, somewhere.
NASTY: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, -(2**63), 10**299, 1e308, -1e308, 5e-324, 0.5, -0.0, "", "x", "\0",
    "\u2028", "\x85", "\x1b[31m", "a\nb", "../../x", "/etc/passwd", ".", "..", "NaN", "1", "<script>", "x" * 5000,
    "é" * 200, [], [[]], {}, {"": {}}, [None], ["a"] * 300, [0.0, 1.0], [1, "x"], {"value": 1},
)  # fmt: skip
# Texts that no value is written as.
RAW = (
    "NaN", "Infinity", "-Infinity", "1e999", "1" * 5000, "[" * 5000, '{"a":' * 3000, r'"\ud800"', r'"\udfff"',
    '"\\u0000"', "'x'", "", "]", ",", "nul", "0x10", "01", "+1", '{"id":1,"id":2}',
)  # fmt: skip
NAMES = ("id", "x", "", "pjsd.x", "pjsd.-1", "pjsd.1.5", "\x1b[2J", "a|b", "é")
_MARK = "fuzz"


def mutated_value(value: Any, rng: random.Random) -> str:
    """A JSON text: ``value`` with one to three of its parts replaced, removed, renamed, doubled or swapped."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        holder, key = rng.choice(_places([value]))
        action = rng.random()
        if action < 0.55:
            holder[key] = copy.deepcopy(rng.choice(NASTY))
        elif action < 0.65:
            holder[key] = _MARK
        elif action < 0.8 and not (holder and isinstance(holder, list) and len(holder) == 1):
            del holder[key]
        elif isinstance(holder, dict):
            holder[rng.choice(NAMES)] = holder.pop(key)
        else:
            holder.append(copy.deepcopy(holder[key]))
        value = value if isinstance(value, (dict, list)) else {"value": value}
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    return text.replace(f'"{_MARK}"', rng.choice(RAW))


def mutated_bytes(content: bytes, rng: random.Random) -> bytes:
    """The same file with some of its bytes changed, cut, doubled or put elsewhere."""
    held = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        if not held:
            break
        at = rng.randrange(len(held))
        action = rng.randrange(6)
        if action == 0:
            held[at] ^= 1 << rng.randrange(8)
        elif action == 1:
            held[at] = rng.choice(b'\0\n\r\t "{}[],:\\\xff\x80\xe2')
        elif action == 2:
            del held[at : at + rng.choice((1, 2, 10, 1000))]
        elif action == 3:
            held[at:at] = held[max(0, at - rng.choice((1, 5, 100))) : at]
        elif action == 4:
            held[at:at] = rng.choice(RAW).encode()
        else:
            held = held[:at]
    return bytes(held)


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every part below a value: what holds it, and where."""
    found: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            # The value itself cannot be replaced, but what it holds.
            if holder is not value:
                found.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                waiting.append(holder[key])
    return found or [(value, 0)]
