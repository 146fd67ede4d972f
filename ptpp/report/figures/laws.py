"""Figures of the laws: how well they predict, and what the rows can say about them."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ptpp.errors import InputError
from ptpp.laws.levels import best_forecasts
from ptpp.laws.scoring import score
from ptpp.report.figures import canvas
from ptpp.report.names import law_name, protocol_name, short_number
from ptpp.table.kinds import list_stages, with_stages

ROLES = {"fit": "fit rows", "held_out": "held-out rows"}
_ROLE_LOOKS = canvas.assign_looks(ROLES, canvas.PALETTE), {"fit": "o", "held_out": "^"}
INPUTS = {"n_params": "parameters", "ptpp": "PTPP", "replay": "replay (%)", "atpp": "ATPP"}
_LEVELS = {"n_params": short_number, "replay": lambda share: f"{100 * share:g}"}
ERROR = "{} loss: predicted / observed \N{MINUS SIGN} 1 (%)"
_NOISE = "0.8"


@canvas.style()
def calibration(predictions: pd.DataFrame, noise_floor: float | None, domain: str) -> Figure:
    """Errors of held-out cells against their observed loss: a panel per law, least error first.

    `predictions`: `PREDICTION_COLUMNS`, with role "fit" or "held_out" and losses in nats/token. An
    error is predicted / observed - 1, in percent; one colour per protocol. `noise_floor`: relative
    seed noise of one run, drawn as a band about zero; None or NaN draws none. Of a law's forecasts
    the one of `best_forecasts` is drawn, in all figures of predictions. Titles have MAErel. Raises
    InputError when the domain has no held-out rows.
    """
    rows = _predictions(predictions, domain)
    rows = rows[rows["role"] == "held_out"]
    if rows.empty:
        raise InputError(f"figure calibration: no held-out rows of domain {domain!r}")
    errors = rows.groupby(["law", "protocol"])[["observed", "predicted"]].apply(
        lambda cells: score(*cells.to_numpy().T)["mae_rel"]
    )
    laws, protocols = canvas.sort_laws(errors), list(rows["protocol"].unique())
    looks = canvas.distinct_looks(protocols)
    figure, panels = canvas.new_panels_of(laws, height=1.8, most=3, sharex=True, sharey=True)
    for law, axis in panels.items():
        panel = rows[rows["law"] == law]
        _draw_residuals(axis, panel, "observed", noise_floor, 11, "protocol", looks)
        offs = [
            f"{protocol_name(p)} {100 * errors[law, p]:.1f} %"
            for p in protocols
            if (law, p) in errors.index
        ]
        axis.set_title(f"{law_name(law)}\n{', '.join(offs)}", fontsize=7)
    panels[laws[0]].xaxis.set_major_locator(MaxNLocator(4))
    handles = canvas.legend_keys(*looks, protocol_name, line=False)
    return canvas.finish(
        figure, handles + _noise_key(noise_floor), "outside upper center", columns=3,
        x=f"observed {domain} loss (nats/token)", y=ERROR.format(domain),
    )  # fmt: skip


@canvas.style()
def residuals(predictions: pd.DataFrame, noise_floor: float | None, domain: str) -> Figure:
    """Errors (predicted / observed - 1, percent) by stage: rows = laws, columns = protocols.

    `predictions` and `noise_floor` as for `calibration`. Within a stage the rows stand from left to
    right by log ATPP, so that a misfit along ATPP shows as a slope. Raises InputError when the
    domain has no rows.
    """
    rows = _predictions(predictions, domain)
    laws, protocols = list(rows["law"].unique()), list(rows["protocol"].unique())
    stages = list_stages(rows)
    rows = rows.assign(position=rows["stage"].map(stages.index) + _spread(rows["atpp"], 0.7))
    figure, axes = canvas.new_panels(
        len(laws), len(protocols), height=max(1.25, 2.2 / len(laws)), sharex=True, sharey=True
    )
    for axis, panel in canvas.each_panel(axes, rows, {"law": laws, "protocol": protocols}):
        _draw_residuals(axis, panel, "position", noise_floor, 9)
    axes[0, 0].set_xlim(-0.5, len(stages) - 0.5)
    axes[0, 0].set_xticks(range(len(stages)), [f"{stage:g}" for stage in stages])
    canvas.name_panels(axes, map(protocol_name, protocols), map(_two_lines, laws))
    return canvas.finish(
        figure, _role_keys(rows) + _noise_key(noise_floor), "outside upper center", columns=3,
        x="PTPP (within a stage: log ATPP, left to right)", y=ERROR.format(domain),
    )  # fmt: skip


@canvas.style()
def residuals_by_input(
    predictions: pd.DataFrame, noise_floor: float | None, domain: str, protocol: str
) -> Figure:
    """Errors (predicted / observed - 1, percent) against every input, a row per law.

    `predictions` and `noise_floor` as for `calibration`. Columns are size, PTPP, replay and ATPP;
    each level of an input has its own place, and a bar at the median of its held-out rows. Raises
    InputError when the domain has no rows under `protocol`.
    """
    rows = _predictions(predictions, domain)
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
        names = [_LEVELS.get(column, "{:g}".format)(level) for level in levels]
        axes[0, j].set_xticks(range(len(levels)), names)
        axes[0, j].set_xlim(-0.5, len(levels) - 0.5)
    canvas.name_panels(axes, INPUTS.values(), map(_two_lines, laws))
    handles = [*_role_keys(rows), Line2D([], [], color="0.1", label="median held-out")]
    return canvas.finish(
        figure, handles + _noise_key(noise_floor), "outside upper center", columns=4,
        y=ERROR.format(domain),
    )  # fmt: skip


def _draw_residuals(
    axis: Axes, panel: pd.DataFrame, x: str, noise_floor: float | None, area: float,
    by: str = "role", looks: Sequence[Mapping] = _ROLE_LOOKS,
) -> None:  # fmt: skip
    """The errors of a panel about zero and the band of the seed noise.

    `area`: of a point, square points. `looks`: colours and markers of points by the column `by`.
    """
    axis.axhline(0, color="0.2", linewidth=0.8, zorder=1)
    if canvas.is_known(noise_floor):
        band = -100 * noise_floor, 100 * noise_floor
        axis.axhspan(*band, color=_NOISE, linewidth=0, zorder=0.6)
    if not panel.empty:
        seaborn.scatterplot(
            panel, x=x, y="residual", hue=by, style=by, palette=looks[0], markers=looks[1], s=area,
            alpha=0.8, linewidth=0, legend=False, ax=axis,
        )  # fmt: skip
    axis.set(xlabel="", ylabel="")
    axis.grid(False, axis="x")


def _role_keys(rows: pd.DataFrame) -> list[Line2D]:
    colours, markers = _ROLE_LOOKS
    present = {role: colours[role] for role in ROLES if (rows["role"] == role).any()}
    return canvas.legend_keys(present, markers, ROLES.get, line=False)


def _noise_key(noise_floor: float | None) -> list[Patch]:
    return [Patch(color=_NOISE, label="seed noise")] if canvas.is_known(noise_floor) else []


def _two_lines(law: str) -> str:
    return law_name(law).replace(" (", "\n(")


def _predictions(frame: pd.DataFrame, domain: str) -> pd.DataFrame:
    rows = with_stages(best_forecasts(canvas.select_domain(frame, domain)))
    return rows.assign(residual=100 * (rows["predicted"] / rows["observed"] - 1))


def _spread(values: pd.Series, width: float) -> np.ndarray:
    """Logs of `values`, moved and scaled to [-width / 2, width / 2]."""
    logs = np.log(values.to_numpy(float))
    span = logs.max() - logs.min()
    return width * ((logs - logs.min()) / span - 0.5) if span > 0 else np.zeros_like(logs)
