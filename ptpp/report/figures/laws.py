"""Figures of the laws: how well they predict, and what the rows can say about them."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ptpp.errors import InputError
from ptpp.laws.levels import best_forecasts
from ptpp.laws.scoring import PREDICTION_COLUMNS, score
from ptpp.report.figures import canvas
from ptpp.table.kinds import list_stages, with_stages

ROLES = {"fit": "fit rows", "held_out": "held-out rows"}
_ROLE_COLOURS = canvas.assign_looks(ROLES, canvas.PALETTE)
_ROLE_MARKERS = {"fit": "o", "held_out": "^"}
INPUTS = {"n_params": "parameters", "ptpp": "PTPP", "replay": "replay ratio", "atpp": "ATPP"}


@canvas.style()
def calibration(predictions: pd.DataFrame, noise_floor: float | None, domain: str) -> Figure:
    """Observed against predicted loss of held-out rows: columns = laws, rows = protocols.

    `predictions`: `PREDICTION_COLUMNS`, with role "fit" or "held_out" and losses in nats/token.
    `noise_floor`: relative seed noise of one run, drawn as a band about the identity; None or NaN
    draws none. Of a law's forecasts the one of `best_forecasts` is drawn, in all figures of
    predictions. Observed is on the vertical axis, so that the printed calibration slope (least
    squares of observed on predicted) is the slope one sees. Raises InputError when the domain has
    no held-out rows.
    """
    rows = _predictions(predictions, domain, "calibration")
    rows = rows[rows["role"] == "held_out"]
    if rows.empty:
        raise InputError(f"figure calibration: no held-out rows of domain {domain!r}")
    laws, protocols = list(rows["law"].unique()), list(rows["protocol"].unique())
    sizes = canvas.size_names(rows)
    colours, _ = canvas.replay_looks(rows["replay"])
    markers = canvas.assign_looks(sizes, canvas.MARKERS)
    ends = canvas.pad_range(rows[["observed", "predicted"]].to_numpy(), 0.04)
    side = max(1.35, min(2.8, (canvas.WIDTH - 0.7) / len(laws)))  # of a square panel, inches
    width = max(4.2, min(canvas.WIDTH, side * len(laws) + 0.7))
    figure, axes = canvas.new_panels(
        len(protocols), len(laws), height=side + 0.1, width=width, sharex=True, sharey=True
    )
    for axis, panel in canvas.each_panel(axes, rows, {"protocol": protocols, "law": laws}):
        axis.plot(ends, ends, color="0.2", linewidth=0.8, zorder=1)
        if canvas.is_known(noise_floor):
            low, high = ends * (1 - noise_floor), ends * (1 + noise_floor)
            axis.fill_between(ends, low, high, color="0.75", linewidth=0, zorder=0)
        _calibration_points(axis, panel, colours, markers)
        axis.set(xlim=ends, ylim=ends)
        axis.set_box_aspect(1)
    for line in (axes[0, 0].xaxis, axes[0, 0].yaxis):
        line.set_major_locator(MaxNLocator(4))
    canvas.name_panels(axes, map(canvas.plain_name, laws), map(canvas.plain_name, protocols))
    keys = [("0.3", markers[size], canvas.size_label(rows, size)) for size in sizes]
    keys += [(colours[r], "o", f"replay {canvas.replay_label(r)}") for r in colours]
    handles = [canvas.legend_key(*key, line=False) for key in keys]
    handles.append(Line2D([], [], color="0.2", linewidth=0.8, label="identity"))
    handles += _noise_key(noise_floor, "0.75")
    return canvas.finish(
        figure, handles, "outside upper center", columns=3 if width < canvas.WIDTH else 5,
        x=f"predicted {domain} loss (nats/token)",
        y=f"observed {domain} loss (nats/token)",
    )  # fmt: skip


@canvas.style()
def residuals(predictions: pd.DataFrame, noise_floor: float | None, domain: str) -> Figure:
    """Relative residuals (observed / predicted - 1, percent) by stage, per law and protocol.

    `predictions` and `noise_floor` as for `calibration`. Within a stage the rows stand from left to
    right by log ATPP, so that a misfit along ATPP shows as a slope. Raises InputError when the
    domain has no rows.
    """
    rows = _predictions(predictions, domain, "residuals")
    laws, protocols = list(rows["law"].unique()), list(rows["protocol"].unique())
    stages = list_stages(rows)
    rows = rows.assign(position=rows["stage"].map(stages.index) + _spread(rows["atpp"], 0.7))
    figure, axes = canvas.new_panels(
        len(protocols), len(laws), height=1.7, sharex=True, sharey=True
    )
    for axis, panel in canvas.each_panel(axes, rows, {"protocol": protocols, "law": laws}):
        _draw_residuals(axis, panel, "position", noise_floor, 9)
    axes[0, 0].set_xlim(-0.5, len(stages) - 0.5)
    axes[0, 0].set_xticks(range(len(stages)), [f"{stage:g}" for stage in stages])
    canvas.name_panels(axes, map(canvas.plain_name, laws), map(canvas.plain_name, protocols))
    return canvas.finish(
        figure, _role_keys(rows) + _noise_key(noise_floor, "0.85"),
        x="PTPP (within a stage: log ATPP, left to right)",
        y=f"{domain} loss: observed / predicted - 1 (%)",
    )  # fmt: skip


@canvas.style()
def residuals_by_input(
    predictions: pd.DataFrame, noise_floor: float | None, domain: str, protocol: str
) -> Figure:
    """Relative residuals (observed / predicted - 1, percent) against every input, a row per law.

    `predictions` and `noise_floor` as for `calibration`. Columns are size, PTPP, replay and ATPP;
    each level of an input has its own place, and a bar at the median of its held-out rows. Raises
    InputError when the domain has no rows under `protocol`.
    """
    rows = _predictions(predictions, domain, "residuals_by_input")
    rows = rows[rows["protocol"] == protocol]
    rows = rows.assign(ptpp=rows["stage"])
    if rows.empty:
        raise InputError(f"figure residuals_by_input: no rows under protocol {protocol!r}")
    laws = list(rows["law"].unique())
    figure, axes = canvas.new_panels(len(laws), len(INPUTS), height=1.4, sharex="col", sharey="row")
    for j, column in enumerate(INPUTS):
        levels = sorted(rows[column].unique())
        # Held-out rows stand to the right of fitted ones, so that neither hides the other.
        shift = rows["role"].map({"fit": -0.15, "held_out": 0.15})
        placed = rows.assign(place=rows[column].map(levels.index) + shift)
        for i, law in enumerate(laws):
            axis, panel = axes[i, j], placed[placed["law"] == law]
            _draw_residuals(axis, panel, "place", noise_floor, 7)
            scored = panel[panel["role"] == "held_out"]
            for level, median in scored.groupby(column)["residual"].median().items():
                at = levels.index(level) + 0.15
                axis.plot([at - 0.2, at + 0.2], [median, median], color="0.1", linewidth=1.4)
        names = map(canvas.short_number if column == "n_params" else "{:g}".format, levels)
        axes[0, j].set_xticks(range(len(levels)), list(names))
        axes[0, j].set_xlim(-0.5, len(levels) - 0.5)
    canvas.name_panels(axes, INPUTS.values(), map(canvas.plain_name, laws))
    handles = [*_role_keys(rows), Line2D([], [], color="0.1", label="median held-out")]
    handles += _noise_key(noise_floor, "0.85")
    return canvas.finish(
        figure, handles, "outside upper center", columns=4,
        y=f"{domain} loss: observed / predicted - 1 (%)",
    )  # fmt: skip


def _draw_residuals(
    axis: Axes, panel: pd.DataFrame, x: str, noise_floor: float | None, area: float
) -> None:
    """The residuals of a panel about zero and the band of the seed noise."""
    axis.axhline(0, color="0.2", linewidth=0.8, zorder=1)
    if canvas.is_known(noise_floor):
        band = -100 * noise_floor, 100 * noise_floor
        axis.axhspan(*band, color="0.85", linewidth=0, zorder=0)
    looks = _ROLE_COLOURS, _ROLE_MARKERS
    canvas.draw_points(axis, panel, x, "residual", ("role", "role"), looks, area)
    axis.grid(False, axis="x")


def _role_keys(rows: pd.DataFrame) -> list[Line2D]:
    present = [role for role in ROLES if (rows["role"] == role).any()]
    looks = _ROLE_COLOURS, _ROLE_MARKERS, ROLES
    return [canvas.legend_key(*(look[role] for look in looks), line=False) for role in present]


def _noise_key(noise_floor: float | None, colour: str) -> list[Patch]:
    return [Patch(color=colour, label="seed noise")] if canvas.is_known(noise_floor) else []


def _calibration_points(axis: Axes, panel: pd.DataFrame, colours: Mapping, markers: Mapping):
    if panel.empty:
        return
    canvas.draw_points(
        axis, panel, "predicted", "observed", ("replay", "size"), (colours, markers), 14
    )
    scores = score(panel["observed"].to_numpy(), panel["predicted"].to_numpy())
    error, slope = 100 * scores["mae_rel"], scores["calibration_slope"]
    text = f"MAErel {error:.2f} %\nslope {slope:.2f}\nn = {len(panel)}"
    axis.text(
        0.04, 0.96, text, transform=axis.transAxes, va="top", fontsize=6.5,
        bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def _predictions(frame: pd.DataFrame, domain: str, figure: str) -> pd.DataFrame:
    canvas.check_columns(frame, PREDICTION_COLUMNS, figure)
    unknown = sorted(set(frame["role"]) - set(ROLES))
    if unknown:
        raise InputError(
            f"figure {figure}: column role: found {unknown[0]!r}; accepted: {', '.join(ROLES)}"
        )
    rows = with_stages(best_forecasts(canvas.select_domain(frame, domain)))
    return rows.assign(residual=100 * (rows["observed"] / rows["predicted"] - 1))


def _spread(values: pd.Series, width: float) -> np.ndarray:
    """Logs of `values`, moved and scaled to [-width / 2, width / 2]."""
    logs = np.log(values.to_numpy(float))
    span = logs.max() - logs.min()
    return width * ((logs - logs.min()) / span - 0.5) if span > 0 else np.zeros_like(logs)
