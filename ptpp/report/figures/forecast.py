"""The figure of the question: loss after adaptation against pre-training, forecast and measured."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ptpp.errors import InputError
from ptpp.report.figures import canvas
from ptpp.report.names import law_name, name_stages, size_names
from ptpp.table.kinds import list_stages, with_stages

_FANS = {"early_to_late": canvas.PALETTE[0], "with_anchors": canvas.PALETTE[1]}
_STEP = 0.05  # of the axis, by which the intervals stand beside the held-out measurement
_INK = "0.15"


@canvas.style()
def forecast(predictions: pd.DataFrame, law: str, domain: str) -> Figure:
    """Loss after adaptation against PTPP: a panel per size, measurements, and fans of one law.

    `predictions`: `PREDICTION_COLUMNS`, low and high, as `laws.experiment.predictions` makes them;
    a kriged forecast is drawn where there is one. Every fan joins the forecasts at the measured
    stages, and its interval stands beside the held-out measurement, which is filled where the
    interval from early stages holds it. Replay ratio and ATPP are those of `middle_cell`. Raises
    InputError where the law forecasts no held-out cell of the domain.
    """
    rows = _fans_of(with_stages(predictions), law, domain)
    replay, atpp = middle_cell(rows)
    rows = rows[(rows["replay"] == replay) & (rows["atpp"] == atpp)]
    held_out = rows.loc[rows["role"] == "held_out", "stage"].max()
    sizes, stages = size_names(rows), list_stages(rows)
    figure, panels = canvas.new_panels_of(sizes, height=2.3, sharex=True, sharey=True)
    for size, axis in panels.items():
        panel = rows[rows["size"] == size]
        _draw_panel(axis, panel, held_out, _STEP * np.log(max(stages) / min(stages)))
        axis.set_title(_panel_title(rows, panel, size, held_out), fontsize=7)
    canvas.log_ticks(panels[sizes[0]], "x", stages)
    low, high = np.log(min(stages)), np.log(max(stages))
    margin = (0.04 + 1.5 * _STEP) * (high - low)
    panels[sizes[0]].set_xlim(np.exp(low - margin), np.exp(high + margin))
    return canvas.finish(
        figure, _legend(rows, stages, held_out), "outside upper center", columns=2,
        x=f"PTPP (pre-training tokens per parameter); law: {law_name(law)}, "
        f"replay {canvas.percent(replay)}, ATPP {atpp:g}",
        y=f"{domain} loss after adaptation (nats/token)",
    )  # fmt: skip


def middle_cell(predictions: pd.DataFrame) -> tuple[float, float]:
    """The replay ratio and ATPP nearest the middle of the grid, anchored at the fewest sizes.

    Of the cells that were held out at the most sizes; inner ones before those at the edge.
    """
    late = predictions[predictions["role"] == "held_out"]
    counts = late.groupby(["replay", "atpp"])[["size"]].nunique().reset_index()
    early = late[late["protocol"] == late["protocol"].iloc[0]]
    whole = early.groupby(["replay", "atpp"])["size"].nunique().rename("measured")
    counts = counts.join(whole, on=["replay", "atpp"])
    free = late.groupby(["replay", "atpp"]).size().rename("free")
    counts = counts.join(free, on=["replay", "atpp"])
    far, edge = 0.0, False
    for name in ("replay", "atpp"):
        values = sorted(counts[name].unique())
        place = counts[name].map({value: number for number, value in enumerate(values)})
        far = far + (place - (len(values) - 1) / 2).abs() / len(values)
        if len(values) > 2:
            edge = edge | (place == 0) | (place == len(values) - 1)
    counts = counts.assign(far=far, edge=edge)
    order = ["measured", "edge", "free", "far", "replay", "atpp"]
    ascending = [False, True, False, True, True, True]
    best = counts.sort_values(order, ascending=ascending).iloc[0]
    return float(best["replay"]), float(best["atpp"])


def _fans_of(predictions: pd.DataFrame, law: str, domain: str) -> pd.DataFrame:
    """The rows of the law's best-informed forecast under each of `_FANS`, kriged where it was."""
    rows = predictions[(predictions["law"] == law) & (predictions["domain"] == domain)]
    rows = rows[rows["protocol"].isin(_FANS)]
    if not (rows["role"] == "held_out").any():
        raise InputError(
            f"figure forecast: the law {law!r} forecasts no held-out cell of {domain!r}"
        )
    if (rows["forecast"] == "kriged").any():
        rows = rows[rows["forecast"] == "kriged"]
    known = rows["low"].notna().groupby(rows["protocol"]).transform("any")
    return rows[rows["low"].notna() | ~known]


def _draw_panel(axis: Axes, panel: pd.DataFrame, held_out: float, step: float) -> None:
    early = panel[panel["protocol"] == panel["protocol"].iloc[0]].sort_values("stage")
    late, fitted = early[early["stage"] == held_out], early[early["stage"] < held_out]
    if len(fitted):
        last = fitted["observed"].iloc[-1]
        ends = [fitted["stage"].iloc[-1], held_out]
        axis.plot(ends, [last, last], color="0.45", linestyle=":", zorder=1)
    for number, (protocol, colour) in enumerate(_FANS.items()):
        fan = panel[panel["protocol"] == protocol].sort_values("stage")
        if fan.empty:
            continue
        look = {"color": colour, "zorder": 2 + number}
        axis.fill_between(
            fan["stage"], fan["low"], fan["high"], alpha=0.18 + 0.12 * number, linewidth=0, **look
        )
        axis.plot(fan["stage"], fan["predicted"], linestyle=canvas.LINES[number], **look)
        end = fan[fan["stage"] == held_out]
        place = end["stage"] * np.exp(step * (2 * number - 1))
        spread = [end["predicted"] - end["low"], end["high"] - end["predicted"]]
        axis.errorbar(
            place, end["predicted"], spread, fmt="none", ecolor=colour, elinewidth=1.6, zorder=5
        )
    axis.plot(fitted["stage"], fitted["observed"], "o", color=_INK, zorder=6)
    inside = late["observed"].between(late["low"], late["high"])
    look = {"color": _INK, "markersize": 4.5, "markeredgewidth": 1, "zorder": 7}
    for part, face in ((late[inside], _INK), (late[~inside], "white")):
        axis.plot(part["stage"], part["observed"], "D", markerfacecolor=face, **look)
    if len(_anchors(panel, held_out)):
        axis.plot(
            late["stage"], late["observed"], "o", markersize=10, zorder=7,
            markerfacecolor="none", markeredgecolor=_FANS["with_anchors"],
        )  # fmt: skip


def _panel_title(rows: pd.DataFrame, panel: pd.DataFrame, size: str, held_out: float) -> str:
    """The size, and how far off each forecast is."""
    late = panel[panel["stage"] == held_out].set_index("protocol")
    errors = 100 * (late["predicted"] / late["observed"] - 1).abs()
    texts = []
    if "early_to_late" in errors:
        texts.append(f"{errors['early_to_late']:.1f} % off")
    if len(_anchors(panel, held_out)):
        texts.append("an anchor")
    elif "with_anchors" in errors:
        texts.append(f"{errors['with_anchors']:.1f} % with anchors")
    return f"{canvas.size_label(rows, size)}\n{', '.join(texts)}"


def _anchors(rows: pd.DataFrame, held_out: float) -> pd.DataFrame:
    """Cells of the held-out stage that the fit with anchors has used."""
    used = (rows["protocol"] == "with_anchors") & (rows["role"] == "fit")
    return rows[used & (rows["stage"] == held_out)]


def _legend(rows: pd.DataFrame, stages: Sequence[float], held_out: float) -> list:
    early = name_stages([stage for stage in stages if stage < held_out])
    informed = set(rows["information"]) & {"zero_shot"}
    own = ", and the checkpoint's base loss" if informed else " alone"
    names = {
        "early_to_late": f"forecast from PTPP {early}{own}",
        "with_anchors": f"the same with anchors at PTPP {held_out:g}",
    }
    present = [protocol for protocol in _FANS if (rows["protocol"] == protocol).any()]
    if len(present) == 1:
        names["with_anchors"] = f"forecast with anchors at PTPP {held_out:g}"
    mark = {"color": _INK, "linestyle": "none"}
    handles = [
        Line2D([], [], color=_FANS[p], linestyle=canvas.LINES[n], label=names[p], linewidth=2)
        for n, p in enumerate(present)
    ]
    bar = {"marker": "|", "markersize": 8, "markeredgewidth": 1.6, "linestyle": "none"}
    handles.append(Line2D([], [], color="0.45", label="bars and bands: 90 % intervals", **bar))
    handles.append(Line2D([], [], color="0.45", linestyle=":", label="last early stage, unchanged"))
    handles.append(Line2D([], [], marker="o", label="measured, used by the fit", **mark))
    handles.append(
        Line2D([], [], marker="D", markersize=5, label="held out, inside the interval", **mark)
    )
    early_rows = rows[(rows["protocol"] == present[0]) & (rows["stage"] == held_out)]
    if not early_rows["observed"].between(early_rows["low"], early_rows["high"]).all():
        look = mark | {"markerfacecolor": "white", "markersize": 5}
        handles.append(Line2D([], [], marker="D", label="held out, outside of it", **look))
    if len(_anchors(rows, held_out)):
        look = {"markerfacecolor": "none", "linestyle": "none", "markersize": 9}
        ring = {"markeredgecolor": _FANS["with_anchors"], "marker": "o"}
        handles.append(Line2D([], [], label="ringed: served as an anchor", **look, **ring))
    return handles
