"""Charts as inline SVG, without a viewBox: widths in percent, heights and text in pixels.

A chart is then as wide as its place, from a phone to a desk, and its text stays readable. Colours come from the page's
style by class, ``generated`` and ``real`` above all. A chart has one idea, its labels stand where the marks are, and
its ``aria-label`` says what it shows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from slm_eval.base.arrays import Floats
from slm_eval.report.page.markup import Markup, tag
from slm_eval.report.text.numbers import MINUS

Interval = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """Values from ``low`` to ``high``, placed from ``start`` to ``end`` percent of a chart's width."""

    low: float
    high: float
    start: float = 2.0
    end: float = 98.0
    log: bool = False

    def at(self, value: float) -> str:
        """Return where a value lies, as SVG writes it."""
        return f"{self.percent(value):.2f}%"

    def percent(self, value: float) -> float:
        """Return where a value lies, in percent; values beyond the axis lie on its end."""
        low, high, value = (math.log(number) if self.log else number for number in (self.low, self.high, value))
        share = (value - low) / (high - low) if high > low else 0.5
        return self.start + (self.end - self.start) * min(max(share, 0.0), 1.0)

    def width(self, low: float, high: float) -> str:
        """Return the width of a rectangle between two values."""
        return f"{self.percent(high) - self.percent(low):.2f}%"

    def ticks(self, most: int = 5) -> list[float]:
        """Return round values on the axis."""
        if self.log:
            decades = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [float(10**power) for power in decades]
        return nice_ticks(self.low, self.high, most)


def nice_ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return at most ``most`` multiples of 1, 2 or 5 times a power of ten within a range."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(
        factor * power
        for factor in (1, 2, 5, 10, 20)
        if math.floor(high / (factor * power) + 1e-9) - math.ceil(low / (factor * power) - 1e-9) < most
    )
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def nice_range(low: float, high: float) -> Interval:
    """Return the narrowest range between round values that holds a range."""
    ticks = nice_ticks(low, high, 10)
    step = ticks[1] - ticks[0] if len(ticks) > 1 else high - low
    return round(math.floor(low / step + 1e-9) * step, 12), round(math.ceil(high / step - 1e-9) * step, 12)


def range_row(
    axis: Axis, value: float, interval: Interval | None, real: float | None, real_interval: Interval | None, label: str
) -> Markup:
    """Draw one number beside real speech: a dot with its interval, above a bar for what real speech scores."""
    marks = [tag("line", x1=axis.at(axis.low), x2=axis.at(axis.high), y1=12, y2=12, class_="track")]
    if real_interval is not None:
        low, high = real_interval
        marks.append(tag("rect", x=axis.at(low), width=axis.width(low, high), y=4, height=16, class_="real band"))
    if real is not None:
        marks.append(tag("line", x1=axis.at(real), x2=axis.at(real), y1=3, y2=21, class_="real mark"))
    if interval is not None:
        marks.append(
            tag("line", x1=axis.at(interval[0]), x2=axis.at(interval[1]), y1=12, y2=12, class_="generated whisker")
        )
    marks.append(tag("circle", cx=axis.at(value), cy=12, r=4.5, class_="generated dot"))
    return _svg(24, label, *marks)


def range_axis(axis: Axis, most: int = 4) -> Markup:
    """Draw the scale of the rows above or below it."""
    ticks = axis.ticks(most)
    return tag(
        "svg",
        [
            [
                tag("line", x1=axis.at(tick), x2=axis.at(tick), y1=0, y2=4, class_="tick"),
                tag("text", number(tick), x=axis.at(tick), y=16, text_anchor=_anchor(axis.percent(tick))),
            ]
            for tick in ticks
        ],
        width="100%",
        height=20,
        class_="chart",
        aria_hidden="true",
    )


def histogram(generated: Floats, real: Floats, label: str, *, bins: int = 24) -> Markup:
    """Draw two distributions back to back: generated clips upwards, real ones downwards, as shares of their clips.

    Args:
        mine, theirs: a value per clip; either may be empty, not both.
    """
    both = np.concatenate((generated, real))
    low, high = float(both.min()), float(both.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    axis = Axis(low, high)
    edges = np.linspace(low, high, min(bins, max(6, math.ceil(2 * both.size ** (1 / 3)))) + 1)
    shares = [np.histogram(side, edges)[0] / max(side.size, 1) for side in (generated, real)]
    tallest = max(float(share.max()) for share in shares)
    half, middle = 50.0, 68.0
    marks: list[Markup] = []
    for name, values, share, sign in (("generated", generated, shares[0], -1), ("real", real, shares[1], 1)):
        marks += _bins(axis, edges, half * share / tallest, middle, upwards=sign < 0, kind=name)
        y = middle - half - 7 if sign < 0 else middle + half + 15
        if values.size:
            mean = float(values.mean())
            ends = (middle - half, middle) if sign < 0 else (middle, middle + half)
            marks.append(tag("line", x1=axis.at(mean), x2=axis.at(mean), y1=ends[0], y2=ends[1], class_="mean"))
        text = f"{name}, {values.size:,} clips" if values.size else f"{name}: none"
        marks.append(tag("text", text, x="2%", y=y, class_=f"{name} name"))
    marks.append(tag("line", x1="0", x2="100%", y1=middle, y2=middle, class_="axis"))
    bottom = middle + half + 35
    for tick in axis.ticks():
        place = axis.at(tick)
        marks.append(tag("line", x1=place, x2=place, y1=bottom - 14, y2=bottom - 10, class_="tick"))
        marks.append(tag("text", number(tick), x=place, y=bottom, text_anchor=_anchor(axis.percent(tick))))
    return _svg(int(bottom) + 6, label, *marks)


def _bins(axis: Axis, edges: Floats, heights: Floats, middle: float, *, upwards: bool, kind: str) -> list[Markup]:
    """Draw the bins of a histogram that hold something, up or down from ``middle``."""
    return [
        tag(
            "rect",
            x=axis.at(left),
            width=axis.width(left, right),
            y=f"{middle - height if upwards else middle:.1f}",
            height=f"{height:.1f}",
            class_=f"{kind} area",
        )
        for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True)
        if height
    ]


@dataclass(frozen=True)
class Order:
    """pJSD of one n, for ``by_order``."""

    n: int
    value: float
    interval: Interval | None
    floor: float | None
    floor_sd: float | None
    digits: int = 3


def by_order(orders: Sequence[Order], ceiling: float, unit: str, label: str) -> Markup:
    """Draw pJSD against n: dots with intervals, above bars for what real speech scores against real speech."""
    height, top = 250.0, 22.0

    def y(value: float) -> float:
        return top + (height - top) * (1 - value / ceiling)

    marks: list[Markup] = []
    for tick in nice_ticks(0, ceiling, 5):
        marks.append(tag("line", x1="0", x2="100%", y1=f"{y(tick):.1f}", y2=f"{y(tick):.1f}", class_="grid"))
        marks.append(tag("text", number(tick), x="0", y=f"{y(tick) - 4:.1f}"))
    marks.append(tag("line", x1="0", x2="100%", y1=top, y2=top, class_="grid ceiling"))
    text = f"{ceiling:.4g} {unit}: nothing in common"
    marks.append(tag("text", text, x="100%", y=top - 6, text_anchor="end"))
    slot = 90 / len(orders)
    for index, order in enumerate(orders):
        x = 8 + slot * (index + 0.5)
        marks.append(_middle(f"n = {order.n}", x, height + 20, "strong"))
        marks += _floor_bar(order, ceiling, x, slot, y)
        if order.interval is not None:
            ends = [f"{y(end):.1f}" for end in order.interval]
            marks.append(
                tag("line", x1=f"{x:.2f}%", x2=f"{x:.2f}%", y1=ends[0], y2=ends[1], class_="generated whisker")
            )
        marks.append(tag("circle", cx=f"{x:.2f}%", cy=f"{y(order.value):.1f}", r=5, class_="generated dot"))
        value = f"{order.value:.{order.digits}f}"
        marks.append(_middle(value, x, height + 38, "generated name"))
    named = _roomiest(orders, ceiling)
    if named is not None and named.floor is not None:
        x = 8 + slot * (orders.index(named) + 0.5)
        above = y(named.interval[1] if named.interval else named.value) - 10
        marks.append(_middle("generated", x, above, "generated name"))
        below = y(max(named.floor - 1.96 * (named.floor_sd or 0.0), 0.0)) + 16
        marks.append(_middle("real vs real", x, below, "real name"))
    return _svg(int(height) + 46, label, *marks)


def _floor_bar(order: Order, ceiling: float, x: float, slot: float, y: Callable[[float], float]) -> list[Markup]:
    """Draw what real speech scores against real speech, ± 1.96 sd, around ``x`` % of the width, where it is known."""
    if order.floor is None:
        return []
    sd = 1.96 * (order.floor_sd or 0.0)
    low, high = y(max(order.floor - sd, 0)), y(min(order.floor + sd, ceiling))
    left, right = f"{x - slot * 0.28:.2f}%", f"{x + slot * 0.28:.2f}%"
    middle = f"{y(order.floor):.1f}"
    return [
        tag("rect", x=left, width=f"{slot * 0.56:.2f}%", y=f"{high:.1f}", height=f"{max(low - high, 1):.1f}",
            class_="real band"),
        tag("line", x1=left, x2=right, y1=middle, y2=middle, class_="real mark"),
    ]  # fmt: skip


def _roomiest(orders: Sequence[Order], ceiling: float) -> Order | None:
    """Find where both marks can be named: room below the floor and above the value, the widest gap between them."""
    fit = [
        order
        for order in orders
        if order.floor is not None and order.floor > 0.1 * ceiling and order.value < 0.88 * ceiling
    ]
    return max(fit, key=lambda order: abs(order.value - (order.floor or 0.0)), default=None)


def _middle(text: str, x: float, y: float, kind: str) -> Markup:
    return tag("text", text, x=f"{x:.2f}%", y=f"{y:.1f}", text_anchor="middle", class_=kind)


@dataclass(frozen=True)
class Line:
    """A series of ``lines``: points from left to right, with an interval each where it is known."""

    name: str
    kind: str  # "generated" or "real"
    points: Sequence[tuple[float, float, Interval | None]]


def lines(series: Sequence[Line], label: str) -> Markup:
    """Draw values from 0 against sample size on a logarithmic axis, named at their ends."""
    height, top = 150.0, 16.0
    _, ceiling = nice_range(0.0, max(value for line in series for _, value, _ in line.points))
    sizes = [x for line in series for x, _, _ in line.points]
    axis = Axis(min(sizes), max(sizes), 6, 94, log=True)

    def y(value: float) -> str:
        return f"{top + (height - top) * (1 - min(value, ceiling) / ceiling):.1f}"

    marks: list[Markup] = []
    for tick in nice_ticks(0, ceiling, 4):
        marks.append(tag("line", x1="0", x2="100%", y1=y(tick), y2=y(tick), class_="grid"))
        marks.append(tag("text", number(tick), x="0", y=f"{float(y(tick)) - 4:.1f}"))
    for line in series:
        for (x1, y1, _), (x2, y2, _) in zip(line.points[:-1], line.points[1:], strict=True):
            marks.append(tag("line", x1=axis.at(x1), x2=axis.at(x2), y1=y(y1), y2=y(y2), class_=f"{line.kind} line"))
        for x, value, interval in line.points:
            if interval is not None:
                marks.append(
                    tag("line", x1=axis.at(x), x2=axis.at(x), y1=y(interval[0]), y2=y(interval[1]),
                        class_=f"{line.kind} whisker thin")
                )  # fmt: skip
            marks.append(tag("circle", cx=axis.at(x), cy=y(value), r=2.5, class_=f"{line.kind} dot"))
        # Lines fall: there is room above where generated speech begins, and below where real speech ends.
        first = line.kind == "generated"
        x, value, interval = line.points[0 if first else -1]
        ends = interval or (value, value)
        place = float(y(ends[1])) - 6 if first else float(y(ends[0])) + 15
        marks.append(
            tag("text", line.name, x=axis.at(x), y=f"{place:.1f}", text_anchor="start" if first else "end",
                class_=f"{line.kind} name")
        )  # fmt: skip
    for tick, anchor in ((axis.low, "start"), (axis.high, "end")):
        marks.append(tag("text", compact(tick), x=axis.at(tick), y=height + 16, text_anchor=anchor))
    return _svg(int(height) + 24, label, *marks)


def bar(share: float, kind: str, label: str) -> Markup:
    """Draw a bar of 0 to 1 of its place, in the colour of a side."""
    return _svg(14, label, tag("rect", x="0", width=f"{100 * share:.2f}%", y=2, height=10, class_=f"{kind} area"))


def picture(source: str, seconds: float, top_hz: float, label: str) -> Markup:
    """Draw a spectrogram with its axes: time to the right, frequency upwards."""
    height = 128
    marks = [tag("image", href=source, x="0", y="0", width="100%", height=height, preserveAspectRatio="none")]
    for kilohertz in range(2, int(top_hz / 1000), 2):
        y = height * (1 - 1000 * kilohertz / top_hz)
        marks.append(tag("line", x1="0", x2="6", y1=f"{y:.1f}", y2=f"{y:.1f}", class_="over"))
        marks.append(tag("text", f"{kilohertz} kHz", x="9", y=f"{y + 4:.1f}", class_="over"))
    axis = Axis(0, seconds, 0, 100)
    for tick in axis.ticks(6):
        place = axis.at(tick)
        marks.append(tag("line", x1=place, x2=place, y1=height, y2=height + 4, class_="tick"))
        text = f"{number(tick)} s"
        marks.append(tag("text", text, x=place, y=height + 16, text_anchor=_anchor(axis.percent(tick))))
    marks.append(tag("line", x1="0", x2="0", y1=0, y2=height, class_="playhead"))
    return tag("svg", marks, width="100%", height=height + 20, class_="chart spectrogram", role="img", aria_label=label)


def number(value: float) -> str:
    """Return a tick: as few digits as tell it."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}".replace("-", MINUS)


def compact(value: float) -> str:
    """Return a count in few letters: 950, 13k, 1.2M."""
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.{0 if value >= 10 * limit else 1}f}{letter}"
    return f"{value:.0f}"


def _anchor(percent: float) -> str:
    """Keep labels at the ends of an axis inside."""
    return "start" if percent < 6 else "end" if percent > 94 else "middle"


def _svg(height: int, label: str, *marks: Markup) -> Markup:
    return tag("svg", marks, width="100%", height=height, class_="chart", role="img", aria_label=label)
