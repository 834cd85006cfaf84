"""The sections of a report that show what was spoken: pJSD by n, the n-grams that differ, tempo and variety."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from slm_eval.divergence.analysis import MIN_COVERAGE
from slm_eval.divergence.estimators import LN2
from slm_eval.divergence.rarefaction import Point, Rarefaction, rarefaction
from slm_eval.divergence.resampling import Undefined
from slm_eval.report.findings import reading
from slm_eval.report.findings.contributions import Difference, Differences
from slm_eval.report.findings.contributions import differences as find_differences
from slm_eval.report.findings.traits import Trait
from slm_eval.report.page import charts
from slm_eval.report.page.charts import Interval
from slm_eval.report.page.elements import Cell, Column, ceiling, distribution, padded_axis, pair, section, table
from slm_eval.report.page.markup import Markup, Node, tag
from slm_eval.report.text.numbers import NONE, fixed, interval_text, signed
from slm_eval.run.finished import SIDES, FinishedRun
from slm_eval.speech.clusters import Clusters

# Phones of both sides from which on three random cuts are as good as eight, and cost less.
_LARGE = 300_000


def by_order(run: FinishedRun) -> Markup | None:
    """Draw pJSD against n."""
    if not run.divergences:
        return None
    unit = next(iter(run.divergences.values()))["unit"]
    orders = [
        charts.Order(n, metric["value"], pair(metric["ci95"]), metric["floor"], metric["floor_sd"])
        for n, metric in run.divergences.items()
    ]
    sizes = next(iter(run.divergences.values())).get("n_phones")
    sample = f" {sizes['generated']:,} generated and {sizes['real']:,} real phones." if sizes else ""
    return section(
        "orders",
        "pJSD by n",
        "How far the phones are from real speech",
        (reading.of_orders(run.divergences), reading.of_coverage(run.divergences, MIN_COVERAGE)),
        tag(
            "figure",
            tag("figcaption", f"pJSD in {unit}, with 95 % intervals, and what real speech scores, ± 1.96 sd.{sample}"),
            charts.by_order(orders, ceiling(unit), unit, f"pJSD in {unit} by n; the numbers are in the table above"),
        ),
    )


def by_size(run: FinishedRun) -> Markup | None:
    """Draw pJSD against the amount of speech, one chart per n."""
    curves = _curves(run)
    if not curves:
        return None
    unit = next(iter(run.divergences.values()))["unit"]
    scale = ceiling(unit) / LN2

    def point(cut: Point) -> tuple[float, float, Interval]:
        value, half = cut.value * scale, 1.96 * cut.sd * scale
        return cut.n_phones, value, (max(value - half, 0.0), value + half)

    plots = []
    for n, curve in curves.items():
        series = [charts.Line("generated", "generated", list(map(point, curve.generated)))]
        if not isinstance(curve.real, Undefined):
            series.append(charts.Line("real vs real", "real", list(map(point, curve.real))))
        label = f"pJSD-{n} in {unit} against phones a side"
        caption = tag("figcaption", tag("strong", f"n = {n}"), f" in {unit}, by phones a side")
        plots.append(tag("figure", caption, charts.lines(series, label)))
    return section(
        "sizes",
        "Sample size",
        "How pJSD falls with the amount of speech",
        (reading.of_sizes(curves, reading.sharpest(run.divergences) or min(curves)),),
        tag(
            "p",
            "Means over random parts of the speech at hand, with 1.96 times the spread of one such part. Parts of real "
            "speech against each other end at half of it.",
            class_="note",
        ),
        tag("div", plots, class_="multiples"),
    )


def _curves(run: FinishedRun) -> dict[int, Rarefaction]:
    """Return the rarefaction of every n that has it."""
    if not run.divergences:
        return {}
    clips = {side: [clip for clip in run.clips[side] if clip["phones"] is not None] for side in SIDES}
    spoken = {side: [clip["phones"] for clip in of_side] for side, of_side in clips.items()}
    generated, real = (Clusters.from_clips(clips[side]).labels for side in SIDES)
    large = sum(len(phones) for of_side in spoken.values() for phones in of_side) > _LARGE
    curves = rarefaction(
        spoken["generated"],
        spoken["real"],
        list(run.divergences),
        splits=3 if large else 8,
        generated_clusters=generated,
        real_clusters=real,
    )
    return {n: curve for n, curve in curves.items() if not isinstance(curve, Undefined)}


def differences(run: FinishedRun) -> Markup | None:
    """Show the n-grams that contribute most, one panel per n."""
    per_order = find_differences(run, run.divergences)
    if not per_order:
        return None
    shown = max(per_order, key=lambda order: order.n_significant).n
    return section(
        "ngrams",
        "n-grams",
        "Which n-grams make the difference",
        (),
        tag(
            "div",
            [
                tag(
                    "button",
                    f"n = {order.n}",
                    type="button",
                    role="tab",
                    id=f"tab-ngrams-{order.n}",
                    aria_controls=f"ngrams-{order.n}",
                    aria_selected="true" if order.n == shown else "false",
                    tabindex=0 if order.n == shown else -1,
                )
                for order in per_order
            ],
            class_="tabs",
            role="tablist",
            aria_label="Length of the n-grams",
        ),
        [_differences_of_order(order, hidden=order.n != shown) for order in per_order],
        tag(
            "p",
            "The divergence is a sum over n-grams; a share is one term of it. Shown are the largest terms of n-grams "
            "whose frequency differs by more than chance between clips (at most 5 % false discoveries).",
            class_="note",
        ),
    )


def _differences_of_order(order: Differences, *, hidden: bool) -> Markup:
    most = max((ngram.share for ngram in (*order.too_often, *order.too_rare)), default=1.0)
    sides = (("generated", "Too often in generated speech", order.too_often), ("real", "Too rare", order.too_rare))
    return tag(
        "div",
        tag("p", reading.of_differences(order), class_="reading"),
        tag(
            "div",
            [
                tag(
                    "div",
                    tag("h3", heading),
                    tag("ul", _BARS_HEAD, [_difference(ngram, side, most) for ngram in rows], class_="bars")
                    if rows
                    else tag("p", "none", class_="quiet"),
                )
                for side, heading, rows in sides
            ],
            class_="pair",
        )
        if order.n_significant
        else None,
        id=f"ngrams-{order.n}",
        role="tabpanel",
        aria_labelledby=f"tab-ngrams-{order.n}",
        hidden=hidden,
    )


_BARS_HEAD = tag(
    "li",
    [tag("span", text, class_=kind) for text, kind in
     (("", ""), ("", ""), ("share", "share"), ("generated : real", "counts"))],
    class_="head",
    aria_hidden="true",
)  # fmt: skip


def _difference(ngram: Difference, side: str, most: float) -> Markup:
    phones = " ".join(ngram.phones)
    counts = f"{ngram.counts[0]:,} : {ngram.counts[1]:,}"
    return tag(
        "li",
        tag("span", [tag("kbd", phone) for phone in ngram.phones], class_="ngram"),
        charts.bar(ngram.share / most, side, f"{phones}: {100 * ngram.share:.1f} % of the divergence"),
        tag("span", f"{100 * ngram.share:.1f} %", class_="share"),
        tag("span", counts, class_="counts"),
    )


def language(traits: Sequence[Trait]) -> Markup | None:
    """Show tempo, silence, variety and repetition beside real speech."""
    if not traits:
        return None
    columns = [
        Column("", numeric=False),
        Column("generated"),
        Column("beside real", numeric=False),
        Column("real"),
        Column("difference"),
    ]
    rows = []
    for trait in traits:
        gap = reading.difference(*(trait.moments.get(side) for side in SIDES))
        rows.append(
            [
                Cell([trait.name, tag("small", trait.meaning)]),
                Cell(_of_side(trait, "generated")),
                Cell(_trait_row(trait)),
                Cell(_of_side(trait, "real")),
                Cell(NONE if gap is None else _with_interval(signed(gap.value, trait.digits), gap.interval, trait)),
            ]
        )
    plots = [
        distribution(trait.name, trait.unit, *(trait.values.get(side, np.zeros(0)) for side in SIDES))
        for trait in traits
        if any(values.size for values in trait.values.values())
    ]
    return section(
        "language",
        "Traits",
        "Tempo, silence, variety and repetition",
        (reading.of_traits(traits),),
        table(columns, rows, "Means over clips, entropies over all phones, with 95 % intervals", sortable=False),
        tag("div", plots, class_="multiples"),
    )


def _of_side(trait: Trait, side: str) -> Node:
    moments = trait.moments.get(side)
    return NONE if moments is None else _with_interval(fixed(moments.value, trait.digits), moments.ci95, trait)


def _with_interval(shown: str, interval: Sequence[float] | None, trait: Trait) -> Node:
    """Return a number with its unit, and its interval below."""
    return [f"{shown} {trait.unit}".rstrip(), tag("small", interval_text(interval, trait.digits))]


def _trait_row(trait: Trait) -> Node:
    generated, real = (trait.moments.get(side) for side in SIDES)
    if generated is None or real is None:
        return NONE
    ends = [end for moments in (generated, real) for end in (moments.value, *(moments.ci95 or ()))]
    axis = padded_axis(min(ends), max(ends))
    label = f"{trait.name}: generated {generated.value:.{trait.digits}f}, real {real.value:.{trait.digits}f}"
    return charts.range_row(axis, generated.value, generated.ci95, real.value, real.ci95, label)
