"""The figure of the plan."""

from collections.abc import Mapping

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from ptpp.errors import InputError
from ptpp.report.figures import canvas

CONTOURS = ("#000000", "#d55e00", "#009e73", "#cc79a7")  # dark ones of the same palette


@canvas.style()
def plan(
    grid: pd.DataFrame,
    chosen: Mapping | None,
    limits: Mapping[str, float | None],
    robust: Mapping | None = None,
) -> Figure:
    """Predicted target loss over replay ratio and ATPP, with limits and the chosen plan.

    `grid`: every pair of some `replay` and `atpp` values once, with columns `target_loss` and
    `forgetting_<name>` (nats/token). `limits`: column of `grid` -> most that is allowed; its
    contour is drawn and what exceeds any limit is hatched; None and NaN are no limits. A forgetting
    column without a limit gets a few contours at round values. `chosen` has `replay` and `atpp`,
    and `feasible` where that may be false; None marks nothing; `robust` is another such plan.
    Raises InputError when the grid has gaps or twice the same pair.

    The highest tenth of the losses shares one colour, since they soar where ATPP or the target
    share is small.
    """
    forgotten = [c for c in grid.columns if str(c).startswith("forgetting_")]
    limits = {column: limit for column, limit in limits.items() if canvas.is_known(limit)}
    canvas.check_columns(grid, ("replay", "atpp", "target_loss", *limits), "plan")
    columns = dict.fromkeys(["target_loss", *forgotten, *limits])
    surfaces = {column: _surface(grid, column) for column in columns}
    x, y = np.sort(grid["replay"].unique()), np.sort(grid["atpp"].unique())
    contoured = [c for c in columns if c in forgotten or c in limits]
    colours = canvas.assign_looks(contoured, CONTOURS)
    figure, axes = canvas.new_panels(1, 1, height=3.4, width=5.2)
    axis = axes[0, 0]
    axis.grid(False)
    loss = surfaces["target_loss"]
    top = np.quantile(loss, 0.9)
    mesh = axis.pcolormesh(
        x, y, loss, cmap=_pale_blues(), vmax=top, shading="gouraud", rasterized=True
    )
    axis.set(yscale="log", xlim=(x[0], x[-1]), ylim=(y[0], y[-1]))
    steps = MaxNLocator(8).tick_values(loss.min(), top)
    isolines = axis.contour(x, y, loss, steps, colors="0.5", linewidths=0.4)
    handles = []
    if limits:
        excess = np.max([surfaces[c] - limit for c, limit in limits.items()], axis=0)
        if (excess > 0).any():
            axis.contourf(x, y, excess, [0, np.inf], colors="none", hatches=["\\\\\\\\"])
            handles.append(Patch(facecolor="none", hatch="\\\\\\\\", label="outside a limit"))
    for column, line in canvas.assign_looks(contoured, canvas.LINES).items():
        levels = [limits[column]] if column in limits else _levels(surfaces[column])
        label = _limit_name(column, limits.get(column), surfaces[column])
        lines = axis.contour(
            x, y, surfaces[column], levels, colors=[colours[column]], linestyles=[line],
            linewidths=1.2,
        )  # fmt: skip
        if column not in limits:
            axis.clabel(lines, fontsize=6, fmt="%.2g")
        handles.append(Line2D([], [], color=colours[column], linestyle=line, label=label))
    if chosen is not None:
        handles.append(_mark_plan(axis, chosen, "plan", "*", "infeasible, least excess", "X"))
    if robust is not None:
        handles.append(_mark_plan(axis, robust, "robust plan", "D", "no robust plan", "P"))
    axis.set(xlabel="replay ratio", ylabel="ATPP (adaptation tokens per parameter)")
    canvas.log_ticks(axis, "y", canvas.round_steps(y[0], y[-1]))
    bar = figure.colorbar(
        mesh, ax=axis, label="predicted target loss (nats/token)", pad=0.02, extend="max"
    )
    bar.add_lines(isolines)
    return canvas.finish(figure, handles, "outside lower center", columns=2)


def _limit_name(column: str, limit: float | None, surface: np.ndarray) -> str:
    name = canvas.plain_name(column)
    if limit is None:
        return name
    where = " (nowhere met)" if surface.min() > limit else ""
    where = " (met everywhere)" if surface.max() <= limit else where
    return f"{name} = {limit:.3g}{where}"


def _mark_plan(
    axis: Axes, chosen: Mapping, name: str, marker: str, without: str, cross: str
) -> Line2D:
    """`name` and `marker` of a feasible plan, `without` and `cross` of the least bad point."""
    feasible = bool(chosen.get("feasible", True))
    look = {
        "marker": marker if feasible else cross,
        "markersize": {"*": 11, "D": 6}.get(marker, 8) if feasible else 8,
        "color": "white",
        "markeredgecolor": "black",
        "markeredgewidth": 0.9,
        "linestyle": "none",
    }
    replay, atpp = chosen["replay"], chosen["atpp"]
    # A plan beyond the grid stands at the edge, and the legend says so.
    shown = np.clip(replay, *axis.get_xlim()), np.clip(atpp, *axis.get_ylim())
    beyond = "" if np.allclose(shown, (replay, atpp), rtol=1e-6) else ", beyond the edge"
    axis.plot(*([place] for place in shown), clip_on=False, zorder=5, **look)
    name = name if feasible else without
    return Line2D([], [], label=f"{name} (r = {replay:.3g}, A = {atpp:.3g}{beyond})", **look)


def _pale_blues() -> Colormap:
    """A ramp pale enough for contours, hatching and marks on top."""
    return ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0.02, 0.65, 256)))


def _surface(grid: pd.DataFrame, column: str) -> np.ndarray:
    """A column as an array (atpp, replay), both ascending."""
    if grid.duplicated(["replay", "atpp"]).any():
        raise InputError("figure plan: a pair of replay and atpp stands in the grid twice")
    table = grid.pivot(index="atpp", columns="replay", values=column)
    if min(table.shape) < 2 or not np.isfinite(table.to_numpy()).all():
        raise InputError(
            f"figure plan: column {column}: accepted is a finite value for every pair of two or "
            f"more replay and atpp values; found {table.shape[1]} x {table.shape[0]}, with "
            f"{int((~np.isfinite(table.to_numpy())).sum())} missing"
        )
    return table.to_numpy()


def _levels(surface: np.ndarray) -> list[float]:
    """Up to four contour levels: 1, 2, 5 times powers of ten inside the surface's range."""
    steps = [s for s in canvas.round_steps(surface.min(), surface.max()) if s < surface.max()]
    return steps[-4:] or [float(np.median(surface))]
