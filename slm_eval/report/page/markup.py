"""HTML and SVG as nested calls, in which text is escaped unless it was made here.

A clip may be named anything: every text that is not ``Markup`` is escaped, in elements and in attributes alike, and
characters that would reorder or hide the text around them are spelled out.
"""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias

from slm_eval.base.terminal import visible

_VOID = frozenset({"meta", "link", "br", "input"})
# Elements of SVG that hold nothing may be closed at once; the parser of HTML accepts that there.
_EMPTY = frozenset({"line", "rect", "circle", "image"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Node: TypeAlias = "str | int | float | Markup | Iterable[Node] | None"


def tag(element: str, /, *children: Node, **attributes: str | int | float | bool | None) -> Markup:
    """Return an element.

    Args:
        element: its name.
        children: texts, which are escaped, or Markup, or nested iterables of them; None adds nothing.
        attributes: an underscore at the end is dropped (``class_``), others become hyphens (``aria_label``). True is an
            attribute without a value; None and False leave it out.

    >>> tag("td", "a < b", class_="name")
    '<td class="name">a &lt; b</td>'
    """
    opening = "<" + element + "".join(_attribute(name, value) for name, value in attributes.items())
    if element in _VOID:
        return Markup(opening + ">")
    if element in _EMPTY and not children:
        return Markup(opening + "/>")
    return Markup(f"{opening}>{join(children)}</{element}>")


def join(nodes: Node) -> Markup:
    """Return nodes one after the other."""
    if nodes is None:
        return Markup("")
    if isinstance(nodes, Markup):
        return nodes
    if isinstance(nodes, (str, int, float)):
        return escape(str(nodes))
    return Markup("".join(map(join, nodes)))


def escape(text: str) -> Markup:
    """Return text as HTML shows it, safe in elements and in quoted attributes.

    >>> escape('</script>"' + chr(0x202E))
    '&lt;/script&gt;&quot;\\\\u202e'
    """
    return Markup(html.escape(visible(text)))


def _attribute(name: str, value: str | int | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    written = name.rstrip("_").replace("_", "-")
    return f" {written}" if value is True else f' {written}="{join(value)}"'
