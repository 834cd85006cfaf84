"""Signatures come back from their line, and say in what two differ."""

from __future__ import annotations

import pytest

from slm_eval.base.errors import SlmEvalError
from slm_eval.base.signature import Signature


def test_signatures_come_back_and_say_what_differs() -> None:
    one = Signature("pjsd", n=5, base="e", model="a|b:c")
    assert str(one) == "pjsd|n:5|base:e|model:a/b=c"
    assert Signature.parse(str(one)) == one
    other = one.extend("pjsd", n=4)
    assert one.differences(other) == {"n": ("5", "4")}
    assert one.differences(Signature("pjsd", n=5)) == {"base": ("e", None), "model": ("a/b=c", None)}
    with pytest.raises(SlmEvalError, match="not a signature"):
        Signature.parse("pjsd|n=5")
