"""The look of the figures: one place for sizes, fonts, colours of budgets, axes with units, and files.

Fonts are those that matplotlib brings. Budgets run through the middle of viridis, which is read in order without seeing
hue, and differ in lightness too; single series take Okabe and Ito's colours. Files carry no date, so that the same runs
give the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slm_eval.base.errors import SlmEvalError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

# Okabe and Ito (2008), told apart by all common kinds of colour vision.
BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#56B4E9"
INK, GREY, PALE = "#222222", "#767676", "#E4E4E4"
PANEL, KEY = (2.9, 2.5), 1.1  # inches; two panels and a legend are as wide as a page's text
FORMATS = ("pdf", "svg", "png")

_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.0,
    "axes.titlesize": 8.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 8.0,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7.0,
    "ytick.labelsize": 7.0,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "legend.fontsize": 7.0,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.labelspacing": 0.35,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.6,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "path",
    "svg.hashsalt": "slm-eval",
    "mathtext.fontset": "dejavusans",
    "text.usetex": False,
}


def require_matplotlib() -> None:
    """Check that figures can be drawn.

    Raises:
        SlmEvalError: matplotlib is not installed; how to get it.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise SlmEvalError("figures need matplotlib; pip install 'slm-eval[scaling]', or --no-figures") from error


@contextmanager
def styled() -> Iterator[None]:
    """Set our style, whatever the user's own settings are; theirs are back afterwards."""
    import matplotlib

    require_matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def panels(
    rows: int, columns: int, size: tuple[float, float] = PANEL, key: float = 0.0, **kwargs: Any
) -> tuple[Figure, Any]:
    """Return a figure and its axes, shape (rows, columns), without pyplot: nothing global, no display.

    Args:
        size: of a panel, in inches.
        key: width of a legend beside the panels, in inches.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * size[0] + key, rows * size[1]), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **kwargs)


def save(figure: Figure, folder: Path, name: str, formats: Sequence[str]) -> list[Path]:
    """Write a figure in each format.

    Raises:
        SlmEvalError: a file cannot be written.
    """
    metadata: dict[str, dict[str, Any]] = {
        "pdf": {"CreationDate": None, "Producer": None},
        "svg": {"Date": None},
        "png": {"Software": None},
    }
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what was laid out stays so; each format would do it again
    paths = [folder / f"{name}.{form}" for form in formats]
    for path, form in zip(paths, formats, strict=True):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, format=form, metadata=metadata[form])
        except OSError as error:
            raise SlmEvalError(f"cannot write {path}: {error.strerror}; choose another place with --output") from error
    return paths


def budget_colours(n: int) -> list[Any]:
    """Return colours from dark (least compute) to light, without the yellow that paper swallows."""
    import matplotlib

    scale = matplotlib.colormaps["viridis"]
    return [scale(0.05 + 0.8 * (index / (n - 1) if n > 1 else 0.0)) for index in range(n)]


def scientific(value: float, digits: int = 2) -> str:
    """Return a number as mathematics: $3\\cdot10^{18}$, and $10^{18}$ where the mantissa is one."""
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if "." in mantissa else mantissa
    power = f"10^{{{int(exponent)}}}"
    return f"${power}$" if mantissa == "1" else f"${mantissa}\\cdot{power}$"


def log_axis(axes: Axes, which: str = "x") -> None:
    """Make an axis logarithmic, with a label at every decade; where there is hardly one, at round values between."""
    getattr(axes, f"set_{which}scale")("log")
    log_ticks(axes.xaxis if which == "x" else axes.yaxis, *sorted(getattr(axes, f"get_{which}lim")()))


def log_ticks(axis: Axis, low: float, high: float) -> None:
    """Set the ticks of a logarithmic axis from ``low`` to ``high``."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    decades = math.log10(high / low)
    inside = math.floor(math.log10(high)) - math.ceil(math.log10(low)) + 1
    if inside >= 3:
        axis.set_major_locator(LogLocator(base=10, numticks=7))
        axis.set_minor_formatter(NullFormatter())
        return
    axis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5) if decades > 0.5 else tuple(range(1, 10)), numticks=12))
    axis.set_minor_formatter(NullFormatter())
    axis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))


def letter(panel: int) -> str:
    """Return (a) to (z), then (aa) and so on, of panels counted from 0."""
    more, last = divmod(panel, 26)
    return f"({chr(96 + more) if more else ''}{chr(97 + last)})"


def short(value: float) -> str:
    """Return a tick's number: plain where that is short, else as a power of ten."""
    return f"{value:g}" if 1e-3 <= abs(value) < 1e5 else scientific(value)


def halo() -> list[Any]:
    """Keep text readable over lines."""
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=1.5, foreground="white")]


def grid(axes: Axes) -> None:
    """Draw thin lines behind the marks."""
    axes.set_axisbelow(True)
    axes.grid(True, which="major", color=PALE, linewidth=0.5)
