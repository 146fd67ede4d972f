"""Figures of uncertainty: profiles, the anchor sweep, and the laws' scores with intervals."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ptpp.errors import InputError
from ptpp.report.figures.style import (
    LINES,
    MARKERS,
    PALETTE,
    PLAIN_NUMBERS,
    WIDTH,
    add_legend,
    assign_looks,
    check_columns,
    fix_ticks,
    is_known,
    lay_out,
    legend_key,
    name_columns,
    new_panels,
    new_panels_of,
    plain_name,
    round_steps,
    select_domain,
    style,
)

_PROFILE = ("law", "protocol", "domain", "parameter", "value", "deviance")
_VERDICT = ("law", "protocol", "domain", "parameter", "value", "verdict")
_SWEEP = ("law", "domain", "choice", "count", "mae_rel")
_INTERVALS = ("law", "protocol", "domain", "score", "value", "low", "high")
COMPARED = {"mae_rel": "MAErel (%)", "calibration_slope": "calibration slope"}
_TOP = 3.0  # of a profile's axis, in thresholds


@style()
def profile(
    profiles: pd.DataFrame, verdicts: pd.DataFrame, law: str, domain: str, threshold: float
) -> Figure:
    """Profile deviance of every parameter of one law: a panel each, a line per protocol.

    `profiles`: law, protocol, domain, parameter, value (natural units), deviance. `verdicts`: a row
    per parameter with the fitted value and the verdict, which is written above the panel's lines.
    `threshold`: deviance at the ends of the interval, drawn dashed. Raises InputError when the law
    has no profile.
    """
    check_columns(profiles, _PROFILE, "profile")
    check_columns(verdicts, _VERDICT, "profile")
    rows = select_domain(profiles, domain)
    rows = rows[rows["law"] == law]
    if rows.empty:
        raise InputError(f"figure profile: no profile of law {law!r} for domain {domain!r}")
    verdicts = verdicts[(verdicts["law"] == law) & (verdicts["domain"] == domain)]
    table = verdicts.set_index(["protocol", "parameter"])
    names, protocols = list(rows["parameter"].unique()), list(rows["protocol"].unique())
    colours = assign_looks(protocols, PALETTE)
    dashes = assign_looks(protocols, LINES)
    figure, panels = new_panels_of(names, height=1.5, sharey=True)
    for name, axis in panels.items():
        axis.axhline(threshold, color="0.3", linestyle=":", linewidth=0.9)
        panel = rows[rows["parameter"] == name]
        for protocol in protocols:
            line = panel[panel["protocol"] == protocol].sort_values("value")
            look = {"color": colours[protocol], "linestyle": dashes[protocol]}
            axis.plot(line["value"], line["deviance"], **look)
            if (protocol, name) in table.index:
                fitted = table.loc[(protocol, name), "value"]
                axis.plot([fitted], [0], "o", color=colours[protocol], clip_on=False)
        _profile_axis(axis, panel, threshold)
        texts = [table.verdict.get((protocol, name), "") for protocol in protocols]
        axis.set_title(f"{name}: {' / '.join(dict.fromkeys(filter(None, texts)))}", fontsize=7)
    handles = [
        Line2D([], [], color=colours[p], linestyle=dashes[p], marker="o", label=plain_name(p))
        for p in protocols
    ]
    handles.append(Line2D([], [], color="0.3", linestyle=":", label="90 % interval ends here"))
    add_legend(figure, handles, "outside upper center", columns=3)
    figure.supxlabel(f"parameter of {plain_name(law)}, all others refitted")
    figure.supylabel("profile deviance")
    return lay_out(figure)


@style()
def anchor_sweep(sweep: pd.DataFrame, noise_floor: float | None, domain: str) -> Figure:
    """Held-out error against the number of anchors: a panel per law, a line per choice.

    `sweep`: law, domain, choice, count, mae_rel (a share); where a choice was repeated the line is
    the mean and the band goes from the least to the greatest. `noise_floor`: relative seed noise of
    one run; None or NaN draws none. Raises InputError when the domain has no rows.
    """
    check_columns(sweep, _SWEEP, "anchor_sweep")
    rows = select_domain(sweep, domain).dropna(subset="mae_rel")
    if rows.empty:
        raise InputError(f"figure anchor_sweep: no scores of domain {domain!r}")
    laws, choices = list(rows["law"].unique()), list(rows["choice"].unique())
    counts = sorted(rows["count"].unique())
    colours = assign_looks(choices, PALETTE)
    markers = assign_looks(choices, MARKERS)
    figure, panels = new_panels_of(laws, height=2.0, sharex=True, sharey=True)
    for law, axis in panels.items():
        if is_known(noise_floor):
            axis.axhline(100 * noise_floor, color="0.5", linestyle="--", linewidth=0.9)
        for choice in choices:
            part = rows[(rows["law"] == law) & (rows["choice"] == choice)]
            errors = 100 * part.groupby("count")["mae_rel"].agg(["mean", "min", "max"])
            places = [counts.index(count) for count in errors.index]
            axis.plot(
                places, errors["mean"], marker=markers[choice], color=colours[choice],
                markeredgewidth=0,
            )  # fmt: skip
            axis.fill_between(
                places, errors["min"], errors["max"], color=colours[choice], alpha=0.2,
                linewidth=0,
            )  # fmt: skip
        axis.set_title(plain_name(law))
    first = panels[laws[0]]
    first.set_yscale("log")
    first.set_xticks(range(len(counts)), [f"{count:g}" for count in counts])
    _percent_ticks(first.yaxis)
    handles = [legend_key(colours[c], markers[c], f"{plain_name(c)} choice") for c in choices]
    handles += _noise_key(noise_floor)
    add_legend(figure, handles, "outside upper center", columns=4)
    figure.supxlabel("anchors: measured cells of the held-out stage given to the fit")
    figure.supylabel(f"{domain} MAErel on the rest (%)")
    return lay_out(figure)


@style()
def law_comparison(intervals: pd.DataFrame, noise_floor: float | None, domain: str) -> Figure:
    """Scores of all laws with their 90 % bootstrap intervals: a panel per score of `COMPARED`.

    `intervals`: law, protocol, domain, score, value, low, high, laws in the order to be drawn from
    top to bottom. `noise_floor`: relative seed noise of one run. Raises InputError when the domain
    has no rows.
    """
    check_columns(intervals, _INTERVALS, "law_comparison")
    rows = select_domain(intervals, domain)
    laws, protocols = list(rows["law"].unique()), list(rows["protocol"].unique())
    colours = assign_looks(protocols, PALETTE)
    markers = assign_looks(protocols, MARKERS)
    shifts = dict(zip(protocols, 0.28 * _centred(len(protocols)), strict=True))
    height = 0.5 * len(laws) + 0.6
    figure, axes = new_panels(1, len(COMPARED), height=height, width=WIDTH, sharey=True)
    for axis, score in zip(axes[0], COMPARED, strict=True):
        factor = 100 if score == "mae_rel" else 1
        for row in rows[rows["score"] == score].itertuples():
            place = laws.index(row.law) + shifts[row.protocol]
            axis.plot(
                [factor * row.low, factor * row.high], [place, place],
                color=colours[row.protocol],
            )  # fmt: skip
            axis.plot(
                [factor * row.value], [place], color=colours[row.protocol],
                marker=markers[row.protocol], markersize=4.5,
            )  # fmt: skip
        axis.grid(False, axis="y")
    errors, slopes = axes[0]
    errors.set_xscale("log")
    _percent_ticks(errors.xaxis)
    if is_known(noise_floor):
        errors.axvline(100 * noise_floor, color="0.5", linestyle="--", linewidth=0.9)
    slopes.axvline(1, color="0.2", linewidth=0.8, zorder=0)
    slopes.xaxis.set_major_locator(MaxNLocator(5))
    errors.set_yticks(range(len(laws)), [plain_name(law) for law in laws])
    errors.set_ylim(len(laws) - 0.5, -0.5)
    name_columns(axes, COMPARED.values())
    handles = [legend_key(colours[p], markers[p], plain_name(p)) for p in protocols]
    handles += _noise_key(noise_floor)
    handles.append(Patch(facecolor="none", label="lines: 90 % bootstrap interval"))
    add_legend(figure, handles, "outside upper center", columns=4)
    figure.supxlabel(f"score on held-out {domain} losses")
    return lay_out(figure)


def _noise_key(noise_floor: float | None) -> list[Line2D]:
    line = Line2D([], [], color="0.5", linestyle="--", label="seed noise")
    return [line] if is_known(noise_floor) else []


def _profile_axis(axis: Axes, panel: pd.DataFrame, threshold: float) -> None:
    """The part of a profile that lies below the top, on a logarithmic axis where it spans much."""
    top = _TOP * threshold
    values = panel.loc[panel["deviance"] <= top, "value"]
    low, high = values.min(), values.max()
    if low > 0 and high / low > 30:
        axis.set_xscale("log")
        margin = (high / low) ** 0.04
        low, high = low / margin, high * margin
    else:
        margin = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
        low, high = low - margin, high + margin
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_formatter(PLAIN_NUMBERS)
    axis.set(xlim=(low, high), ylim=(-0.04 * top, top))


def _percent_ticks(line: XAxis | YAxis) -> None:
    """Plain numbers at 1, 2, 5 times powers of ten on a logarithmic axis."""
    fix_ticks(line, round_steps(*line.get_view_interval()))


def _centred(count: int) -> np.ndarray:
    """Evenly spaced places from -1/2 to 1/2, or 0 for one."""
    return np.linspace(-0.5, 0.5, count) if count > 1 else np.zeros(1)
