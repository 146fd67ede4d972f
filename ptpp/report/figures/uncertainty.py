"""Figures of uncertainty: profiles, the anchor sweep, and the laws' scores with intervals."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator

from ptpp.errors import InputError
from ptpp.laws.levels import best_forecasts
from ptpp.report.figures import canvas
from ptpp.report.names import CHOICES, law_name, parameter_name, protocol_name

COMPARED = {"mae_rel": "error: MAErel (%)", "calibration_slope": "calibration slope (1 is right)"}
_TOP = 3.0  # of a profile's axis, in thresholds


@canvas.style()
def profile(
    profiles: pd.DataFrame, verdicts: pd.DataFrame, law: str, domain: str, threshold: float
) -> Figure:
    """Profile deviance of every parameter of one law: a panel each, a line per protocol.

    `profiles`: law, protocol, domain, parameter, value (natural units), deviance. `verdicts`: a row
    per parameter with the fitted value and the verdict, which is written above the panel's lines.
    `threshold`: deviance at the ends of the interval, drawn dashed. Raises InputError when the law
    has no profile.
    """
    rows = canvas.select_domain(profiles, domain)
    rows = rows[rows["law"] == law]
    if rows.empty:
        raise InputError(f"figure profile: no profile of law {law!r} for domain {domain!r}")
    verdicts = verdicts[(verdicts["law"] == law) & (verdicts["domain"] == domain)]
    table = verdicts.set_index(["protocol", "parameter"])
    names, protocols = list(rows["parameter"].unique()), list(rows["protocol"].unique())
    colours = canvas.assign_looks(protocols, canvas.PALETTE)
    dashes = canvas.assign_looks(protocols, canvas.LINES)
    figure, panels = canvas.new_panels_of(names, height=1.5, sharey=True)
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
        verdict = " / ".join(dict.fromkeys(filter(None, texts)))
        axis.set_title(f"{parameter_name(name)}: {verdict}", fontsize=7)
    looks = [{"color": colours[p], "linestyle": dashes[p], "marker": "o"} for p in protocols]
    names = map(protocol_name, protocols)
    handles = [Line2D([], [], label=n, **look) for n, look in zip(names, looks, strict=True)]
    handles.append(Line2D([], [], color="0.3", linestyle=":", label="90 % interval ends here"))
    return canvas.finish(
        figure, handles, "outside upper center", columns=3,
        x=f"parameter of the law {law_name(law)}, all others refitted",
        y="profile deviance",
    )  # fmt: skip


@canvas.style()
def anchor_sweep(sweep: pd.DataFrame, noise_floor: float | None, domain: str) -> Figure:
    """Held-out error against the number of anchors: a panel per law, a line per choice.

    `sweep`: law, domain, choice, count, mae_rel (a share); where a choice was repeated the line is
    the mean and the band goes from the least to the greatest. `noise_floor`: relative seed noise of
    one run; None or NaN draws none. Raises InputError when the domain has no rows.
    """
    rows = canvas.select_domain(sweep, domain).dropna(subset="mae_rel")
    if rows.empty:
        raise InputError(f"figure anchor_sweep: no scores of domain {domain!r}")
    laws, choices = list(rows["law"].unique()), list(rows["choice"].unique())
    counts = sorted(rows["count"].unique())
    colours, markers = canvas.distinct_looks(choices)
    figure, panels = canvas.new_panels_of(laws, height=2.0, sharex=True, sharey=True)
    for law, axis in panels.items():
        if canvas.is_known(noise_floor):
            axis.axhline(100 * noise_floor, color="0.5", linestyle="--", linewidth=0.9)
        for choice in choices:
            part = rows[(rows["law"] == law) & (rows["choice"] == choice)]
            errors = 100 * part.groupby("count")["mae_rel"].agg(["mean", "min", "max"])
            places = [counts.index(count) for count in errors.index]
            look = {"color": colours[choice]}
            axis.plot(places, errors["mean"], marker=markers[choice], markeredgewidth=0, **look)
            axis.fill_between(places, errors["min"], errors["max"], alpha=0.2, linewidth=0, **look)
        axis.set_title(law_name(law))
    first = panels[laws[0]]
    first.set_yscale("log")
    first.set_xticks(range(len(counts)), [f"{count:g}" for count in counts])
    canvas.fix_ticks(first.yaxis, canvas.round_steps(*first.get_ylim()))
    handles = canvas.legend_keys(colours, markers, lambda choice: f"chosen: {CHOICES[choice]}")
    handles += _noise_key(noise_floor)
    return canvas.finish(
        figure, handles, "outside upper center", columns=4,
        x="anchors: measured cells of the held-out stage given to the fit",
        y=f"{domain} error on the other cells: MAErel (%)",
    )  # fmt: skip


@canvas.style()
def law_comparison(intervals: pd.DataFrame, noise_floor: float | None, domain: str) -> Figure:
    """Scores of all laws with their 90 % bootstrap intervals: a panel per score of `COMPARED`.

    `intervals`: law, protocol, domain, forecast, score, value, low, high. The law of least error
    without anchors stands first; of its forecasts the one of `best_forecasts` is drawn.
    `noise_floor`: relative seed noise of one run. Raises InputError when the domain has no rows.
    """
    rows = best_forecasts(canvas.select_domain(intervals, domain))
    errors = rows[rows["score"] == "mae_rel"].set_index(["law", "protocol"])["value"]
    laws, protocols = canvas.sort_laws(errors), list(rows["protocol"].unique())
    colours, markers = canvas.distinct_looks(protocols)
    places = np.linspace(-0.5, 0.5, len(protocols)) if len(protocols) > 1 else np.zeros(1)
    shifts = dict(zip(protocols, 0.28 * places, strict=True))
    height = 0.42 * len(laws) + 0.5
    figure, axes = canvas.new_panels(1, len(COMPARED), height, sharey=True, width_ratios=[1.4, 1])
    for axis, score in zip(axes[0], COMPARED, strict=True):
        factor = 100 if score == "mae_rel" else 1
        for row in rows[rows["score"] == score].itertuples():
            place = laws.index(row.law) + shifts[row.protocol]
            look = {"color": colours[row.protocol], "markersize": 4.5}
            axis.plot([factor * row.low, factor * row.high], [place, place], **look)
            axis.plot([factor * row.value], [place], marker=markers[row.protocol], **look)
            if score == "mae_rel":
                axis.annotate(
                    f"{factor * row.value:.2g}", (factor * max(row.value, row.high), place),
                    xytext=(3, 0), textcoords="offset points", va="center", fontsize=7,
                    color=colours[row.protocol],
                )  # fmt: skip
        axis.grid(False, axis="y")
    errors, slopes = axes[0]
    errors.set_xscale("log")
    errors.margins(x=0.1)
    canvas.fix_ticks(errors.xaxis, canvas.round_steps(*errors.get_xlim()))
    if canvas.is_known(noise_floor):
        errors.axvline(100 * noise_floor, color="0.5", linestyle="--", linewidth=0.9)
    slopes.axvline(1, color="0.2", linewidth=0.8, zorder=0)
    slopes.xaxis.set_major_locator(MaxNLocator(5))
    errors.set_yticks(range(len(laws)), [law_name(law) for law in laws])
    errors.set_ylim(len(laws) - 0.5, -0.5)
    canvas.name_panels(axes, COMPARED.values())
    handles = canvas.legend_keys(colours, markers, protocol_name)
    handles += _noise_key(noise_floor)
    bar = {"marker": "_", "markersize": 10, "markeredgewidth": 1.2, "linestyle": "none"}
    handles.append(Line2D([], [], color="0.45", label="90 % interval", **bar))
    return canvas.finish(
        figure,
        handles,
        "outside upper center",
        columns=4,
        x=f"scores on held-out {domain} losses, least error without anchors first",
    )


def _noise_key(noise_floor: float | None) -> list[Line2D]:
    line = Line2D([], [], color="0.5", linestyle="--", label="seed noise")
    return [line] if canvas.is_known(noise_floor) else []


def _profile_axis(axis: Axes, panel: pd.DataFrame, threshold: float) -> None:
    """The part of a profile that lies below the top, on a logarithmic axis where it spans much."""
    top = _TOP * threshold
    values = panel.loc[panel["deviance"] <= top, "value"]
    low, high = values.min(), values.max()
    if low > 0 and high / low > 30:
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(numticks=5))
        axis.xaxis.set_minor_locator(NullLocator())
        margin = (high / low) ** 0.04
        low, high = low / margin, high * margin
    else:
        margin = 0.04 * (high - low) or 0.05 * abs(high) or 1.0
        low, high = low - margin, high + margin
        axis.xaxis.set_major_locator(MaxNLocator(4))
        axis.xaxis.set_major_formatter(canvas.PLAIN_NUMBERS)
    axis.set(xlim=(low, high), ylim=(-0.04 * top, top))
