"""The style of all figures: type, colours, panels, legends and axes."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from itertools import cycle, product
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from scipy.optimize import isotonic_regression

from ptpp.errors import InputError
from ptpp.jobs.files import atomic_file
from ptpp.report.names import short_number

WIDTH = 7.0  # inches, the text width of a printed page
DPI = 200
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
CONTROL_COLOUR = "0.55"
LIMIT_COLOUR = "#d55e00"
LINES = ("-", "--", "-.", ":")
PALETTE = tuple(seaborn.color_palette("colorblind"))
PLAIN_NUMBERS = FuncFormatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))


def style() -> AbstractContextManager[None]:
    """The style, as a context or decorator: colour-blind safe, small sans type, TrueType fonts."""
    settings = {
        **seaborn.axes_style("ticks"),
        "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are the same everywhere
        "mathtext.fontset": "dejavusans",
        **dict.fromkeys(("font.size", "axes.labelsize", "axes.titlesize"), 8),
        **dict.fromkeys(("figure.labelsize", "figure.titlesize"), 8),
        **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 7),
        **dict.fromkeys(("legend.fontsize", "legend.title_fontsize"), 7),
        **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
        **dict.fromkeys(("xtick.major.size", "ytick.major.size"), 2.5),
        "axes.titlepad": 4,
        "legend.frameon": False,
        "legend.handlelength": 1.6,
        "axes.grid": True,
        "grid.linewidth": 0.4,
        "grid.color": "0.9",
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.2,
        "lines.markersize": 3.5,
        "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
        "hatch.color": "0.45",
        "hatch.linewidth": 0.4,
        "pdf.fonttype": 42,
        "savefig.bbox": None,
    }
    return matplotlib.rc_context(settings)


def save(figure: Figure, path: str | os.PathLike) -> None:
    """Write a figure as .pdf and .png (200 dpi), whole or not at all, the same bytes each time.

    `path` may leave out its ".png".
    """
    stem = os.fspath(path).removesuffix(".png")
    metadata = {"pdf": {"CreationDate": None}, "png": {"Software": None}}
    for kind, entries in metadata.items():
        with style(), atomic_file(f"{stem}.{kind}") as temporary:
            figure.savefig(temporary, format=kind, dpi=DPI, metadata=entries)


def each_panel(axes: np.ndarray, frame: pd.DataFrame, by: Mapping[str, Sequence]) -> Iterator:
    """Every axis and its rows of `frame`. `by`: the column of the panels' rows, and of their
    columns, with its values."""
    (row, rows), (column, columns) = by.items()
    for axis, (i, j) in zip(axes.flat, product(rows, columns), strict=True):
        yield axis, frame[(frame[row] == i) & (frame[column] == j)]


def new_panels(
    rows: int, columns: int, height: float, width: float = WIDTH, **shared
) -> tuple[Figure, np.ndarray]:
    """A figure unknown to pyplot, and its axes (rows, columns); `height` is that of one row."""
    # A page holds about five panels side by side; more make the figure wider, not the panels small.
    figure = Figure(
        figsize=(max(width, 1.35 * columns + 1), height * rows + 0.7), layout="constrained"
    )
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def new_panels_of(
    names: Sequence[str], height: float, most: int = 4, **shared
) -> tuple[Figure, dict[str, Axes]]:
    """A figure with a panel per name, at most `most` in a row, in rows that are about as long."""
    rows = -(-len(names) // most)
    columns = -(-len(names) // rows)
    figure, axes = new_panels(rows, columns, height, **shared)
    for axis, above in zip(
        axes.flat[len(names) :], axes.flat[len(names) - columns :], strict=False
    ):
        axis.set_visible(False)
        above.tick_params(labelbottom=True)
    return figure, dict(zip(names, axes.flat, strict=False))


def name_panels(axes: np.ndarray, columns: Iterable[str], rows: Iterable[str] = ("",)) -> None:
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name)
    for axis, name in zip(axes[:, -1], rows, strict=True):
        axis.annotate(
            name, (1, 0.5), xycoords="axes fraction", xytext=(4, 0), textcoords="offset points",
            rotation=270, ha="left", va="center",
        )  # fmt: skip


def legend_keys(
    colours: Mapping, markers: Mapping, name: Callable[[Any], str], line: bool = True
) -> list[Line2D]:
    """A key for each value of `colours`: its marker, on a line or without, and its name."""
    look = {"markeredgewidth": 0, "linestyle": "-" if line else "none"}
    return [
        Line2D([], [], color=colour, marker=markers[value], label=name(value), **look)
        for value, colour in colours.items()
    ]


def label_ends(axis: Axes, ends: Sequence[tuple[str, float, object]], height: float) -> None:
    """Names beside the right ends of lines, moved apart where they would meet.

    `ends`: name, the line's last y and its colour; at most nine are named, evenly chosen. `height`:
    of the panel, inches. Call it when the scale and the limits of the axis are set.
    """
    ends = [ends[i] for i in np.unique(np.linspace(0, len(ends) - 1, 9).round().astype(int))]
    to_panel = axis.transData + axis.transAxes.inverted()
    middle = axis.get_xlim()[0]
    places = np.array([to_panel.transform((middle, y))[1] for _, y, _ in ends])
    for number, place in zip(
        np.argsort(places), spread(np.sort(places), 0.12 / height), strict=True
    ):
        name, _, colour = ends[number]
        axis.text(
            1.02, place, name, color=colour, fontsize=7, va="center", transform=axis.transAxes
        )


def spread(places: np.ndarray, gap: float) -> np.ndarray:
    """Ascending places (n,) moved as little as may be (least squares) to be `gap` apart."""
    offsets = gap * np.arange(len(places))
    return isotonic_regression(places - offsets).x + offsets


def label_line(axis: Axes, lines: ContourSet, name: str, taken: list) -> None:
    """A name on a contour, as far as may be from its ends and from the points of `taken`.

    `taken`: points (x, y) as shares of the panel; the name's is added. A line that is too short
    within the panel stays without.
    """
    to_panel = axis.transData + axis.transAxes.inverted()
    best, place = 0.1, None
    for path in lines.get_paths():
        points = to_panel.transform(path.vertices) if len(path.vertices) else np.empty((0, 2))
        points = points[((points > 0.01) & (points < 0.99)).all(axis=1)]
        if len(points) < 2:
            continue
        way = np.append(0, np.hypot(*np.diff(points, axis=0).T).cumsum())
        free = np.minimum(way, way[-1] - way)
        for other in taken:
            free = np.minimum(free, np.hypot(*(points - other).T))
        if free.max() > best:
            best, place = free.max(), points[free.argmax()]
    if place is None:
        return
    taken.append(place)
    point = to_panel.inverted().transform(place)
    axis.clabel(lines, fmt=lambda _: name, fontsize=7, manual=[tuple(point)], inline=True)


def wide_apart(values: Sequence[float], places: Sequence[float], gap: float) -> list[float]:
    """Those of the ascending `values`, first and last among them, whose places are `gap` apart."""
    kept = [(values[0], places[0])]
    for value, place in zip(values[1:], places[1:], strict=True):
        if place - kept[-1][1] >= gap and (place == places[-1] or places[-1] - place >= gap):
            kept.append((value, place))
    return [value for value, _ in kept]


def sort_laws(errors: pd.Series) -> list[str]:
    """Laws by their error (index: law, protocol), least first: without anchors where known."""
    table = errors.unstack("protocol")
    first = "early_to_late" if "early_to_late" in table else table.columns[0]
    return list(table[first].sort_values(kind="stable").index)


def finish(
    figure: Figure, handles: list, place: str = "outside right upper", columns: int = 1,
    x: str = "", y: str = "", heading: str = "", **legend,
) -> Figure:  # fmt: skip
    """Add legend, shared labels and heading; lay out once, since a further pass would move them."""
    if handles:
        figure.legend(handles=handles, loc=place, ncols=min(columns, len(handles)), **legend)
    for text, add in ((x, figure.supxlabel), (y, figure.supylabel), (heading, figure.suptitle)):
        if text:
            add(text)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    # The layout centres shared labels on the page; they belong to the panels.
    boxes = [axis.get_position() for axis in figure.axes]
    x = (min(box.x0 for box in boxes) + max(box.x1 for box in boxes)) / 2
    y = (min(box.y0 for box in boxes) + max(box.y1 for box in boxes)) / 2
    for text in figure.texts:
        across, up = text.get_position()
        text.set_position((x if across == 0.5 else across, y if up == 0.5 else up))
    return figure


def colour_ramp(values: Sequence, name: str, low: float, high: float) -> dict:
    """Colours of a perceptually uniform ramp, without its palest end, which print loses."""
    ramp = matplotlib.colormaps[name]
    places = np.linspace(low, high, len(values)) if len(values) > 1 else [(low + high) / 2]
    return {value: ramp(place) for value, place in zip(values, places, strict=True)}


def assign_looks(values: Sequence, looks: Sequence) -> dict:
    """A colour, marker or dash per value; more values than looks repeat them in turn."""
    return dict(zip(values, cycle(looks), strict=False))


def distinct_looks(values: Sequence) -> tuple[dict, dict]:
    """A colour and a marker per value."""
    return assign_looks(values, PALETTE), assign_looks(values, MARKERS)


def percent(share: float) -> str:
    return f"{100 * share:g} %"


def size_label(frame: pd.DataFrame, size: str) -> str:
    """Name and parameters of a size; a table without names calls sizes by their parameters."""
    n_params = float(frame.loc[frame["size"] == size, "n_params"].iloc[0])
    count = short_number(n_params)
    return f"N = {count}" if str(size) == f"{n_params:.0f}" else f"{size} (N = {count})"


def select_domain(frame: pd.DataFrame, domain: str) -> pd.DataFrame:
    rows = frame[frame["domain"] == domain]
    if rows.empty:
        found = ", ".join(map(repr, sorted(frame["domain"].unique()))) or "none"
        raise InputError(f"figure: no rows of domain {domain!r}; domains found: {found}")
    return rows


def round_steps(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten within [low, high], from 1e-3 on."""
    low = max(low, 1e-3)
    if high < low:
        return []
    exponents = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = [m * 10.0**e for e in exponents for m in (1, 2, 5)]
    return [s for s in steps if low <= s <= high]


def loss_ticks(axis: Axes) -> None:
    """A logarithmic loss axis, which seldom spans a whole decade, ticked at round numbers."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    ticks = MaxNLocator(8, steps=[1, 2, 5, 10]).tick_values(low, high)
    fix_ticks(axis.yaxis, [tick for tick in ticks if max(low, 0) < tick <= high])


def log_ticks(axis: Axes, which: str, values: Iterable[float]) -> None:
    """A logarithmic axis, ticked at `values` if there are at most 8."""
    values = sorted(set(values))
    axis.set(**{f"{which}scale": "log"})
    line = axis.xaxis if which == "x" else axis.yaxis
    line.set_major_formatter(PLAIN_NUMBERS)
    if 0 < len(values) <= 8:
        fix_ticks(line, values)


def fix_ticks(line: XAxis | YAxis, values: Sequence[float]) -> None:
    """Ticks at `values` alone, with plain numbers."""
    line.set_major_locator(FixedLocator(values))
    line.set_minor_locator(NullLocator())
    line.set_major_formatter(PLAIN_NUMBERS)


def pad_range(values: np.ndarray, share: float) -> np.ndarray:
    low, high = values.min(), values.max()
    margin = share * (high - low) or 0.05 * abs(high)
    return np.array([low - margin, high + margin])


def is_known(number: float | None) -> bool:
    return number is not None and bool(np.isfinite(number))
