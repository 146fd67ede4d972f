"""The figure of the plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ptpp.report.figures import canvas
from ptpp.report.names import law_name, plain_name, short_number

_FORBIDDEN = "0.95"
_STRIP = 1.0  # per cent of replay to each side, where one ratio alone was planned with
CONTOURS = ("#000000", "#d55e00", "#009e73", "#cc79a7")  # dark ones of the same palette


@canvas.style()
def plan(
    grid: pd.DataFrame,
    chosen: Mapping | None,
    limits: Mapping[str, float | None],
    robust: Mapping | None = None,
) -> Figure:
    """Predicted target loss over replay and ATPP where all limits are kept, and the chosen plan.

    `grid`: every pair of some `replay` and `atpp` values once, with columns `target_loss` and
    `forgetting_<name>` (nats/token); one replay ratio alone is drawn as a strip. `limits`: column
    of `grid` -> most that is allowed; its contour is drawn and named, and what exceeds any limit is
    left without colour; None and NaN are no limits. A forgetting column without a limit gets a few
    contours at round values. `chosen` has `replay` and `atpp`, and `feasible` where that may be
    false; `law`, `n_params` and `ptpp`, where it has them, are the title; None marks nothing;
    `robust` is another such plan.
    """
    limits = {column: limit for column, limit in limits.items() if canvas.is_known(limit)}
    forgotten = [column for column in grid.columns if str(column).startswith("forgetting_")]
    columns = dict.fromkeys(["target_loss", *forgotten, *limits])
    surfaces = {
        column: grid.pivot(index="atpp", columns="replay", values=column).to_numpy()
        for column in columns
    }
    x, y = 100 * np.sort(grid["replay"].unique()), np.sort(grid["atpp"].unique())
    alone = len(x) == 1
    if alone:  # a strip stands for it
        x = x[0] + np.array([-_STRIP, _STRIP])
        surfaces = {name: np.repeat(values, 2, axis=1) for name, values in surfaces.items()}
    ground = _Ground(x, y, surfaces, limits)
    marks = ((chosen, "plan", "*"), (robust, "robust plan", "D"))
    marks = [mark for mark in marks if mark[0] is not None]
    figure, axes = canvas.new_panels(1, 1, height=3.6, width=5.6)
    axis = axes[0, 0]
    axis.grid(False)
    xlim, ylim = _window(ground, [plan for plan, *_ in marks])
    axis.set(yscale="log", xlim=xlim, ylim=ylim, facecolor=_FORBIDDEN)
    only = ", the only one of the rows" if alone else ""
    axis.set(xlabel=f"replay (% of the adaptation tokens){only}")
    axis.set(ylabel="ATPP (adaptation tokens per parameter)", title=_title(chosen, ground.allowed))
    canvas.log_ticks(axis, "y", _atpp_ticks(*ylim))
    if ground.allowed.any():
        _colour_allowed(axis, ground)
    handles = [_mark_plan(axis, *mark) for mark in marks]
    notes = _draw_lines(axis, ground, [(100 * plan["replay"], plan["atpp"]) for plan, *_ in marks])
    handles += [Line2D([], [], linestyle="none", label=note) for note in notes]
    return canvas.finish(figure, handles, "outside lower center")


@dataclass(frozen=True)
class _Ground:
    """What is drawn: replay [%] `x` (m,), ATPP `y` (n,), surfaces (n, m) [nats] by name, and the
    limits of some of them.
    """

    x: np.ndarray
    y: np.ndarray
    surfaces: Mapping[str, np.ndarray]
    limits: Mapping[str, float]

    @property
    def allowed(self) -> np.ndarray:
        """Where no limit is exceeded (n, m)."""
        kept = [self.surfaces[column] <= limit for column, limit in self.limits.items()]
        return np.all([np.full((len(self.y), len(self.x)), True), *kept], axis=0)


def _colour_allowed(axis: Axes, ground: _Ground) -> None:
    """The loss in colours of the allowed region, whose highest tenth shares one."""
    places, loss = (ground.x, ground.y), ground.surfaces["target_loss"]
    inside = loss[ground.allowed]
    low, top = inside.min(), np.quantile(inside, 0.9)
    steps = MaxNLocator(8).tick_values(low, top if top > low else low + 1e-6)
    mesh = axis.pcolormesh(
        *places, loss, cmap=_pale_blues(), vmin=low, vmax=top, shading="gouraud", rasterized=True,
        zorder=0.5,
    )  # fmt: skip
    isolines = axis.contour(*places, loss, steps, colors="0.5", linewidths=0.4, zorder=0.8)
    # Limit by limit, since contours of the worst excess would cut the corners.
    for column, limit in ground.limits.items():
        excess = ground.surfaces[column] - limit
        if (excess > 0).any():
            axis.contourf(*places, excess, [0, np.inf], colors=[_FORBIDDEN], zorder=0.9)
    bar = axis.figure.colorbar(
        mesh, ax=axis, label="predicted target loss (nats/token)", pad=0.02, extend="max"
    )
    bar.add_lines(isolines)


def _draw_lines(axis: Axes, ground: _Ground, marks: Sequence[tuple]) -> list[str]:
    """The limits and, of forgetting without one, round values, named in place and away from
    `marks`; sentences about the limits that have no line here.
    """
    to_panel = axis.transData + axis.transAxes.inverted()
    taken, notes = [to_panel.transform(mark) for mark in marks], []
    inside = [
        (places >= low) & (places <= high)
        for places, (low, high) in ((ground.y, axis.get_ylim()), (ground.x, axis.get_xlim()))
    ]
    columns = [c for c in ground.surfaces if c in ground.limits or c != "target_loss"]
    for column, colour, dash in zip(columns, cycle(CONTOURS), cycle(canvas.LINES), strict=False):
        surface, limit = ground.surfaces[column], ground.limits.get(column)
        name, shown = plain_name(column), surface[np.ix_(*inside)]
        sign = "=" if limit is None else "\N{LESS-THAN OR EQUAL TO}"
        if limit is not None and not shown.min() <= limit < shown.max():
            where = "nowhere" if shown.min() > limit else "everywhere"
            notes.append(f"{name} {sign} {limit:.3g}: kept {where} here")
            continue
        for level in _levels(surface) if limit is None else [limit]:
            line = axis.contour(
                ground.x, ground.y, surface, [level], colors=[colour], linestyles=[dash],
                linewidths=1.2,
            )  # fmt: skip
            canvas.label_line(axis, line, f"{name} {sign} {level:.3g}", taken)
    return notes


def _atpp_ticks(low: float, high: float) -> list[float]:
    steps = canvas.round_steps(low, high)
    if len(steps) < 3:
        steps = MaxNLocator(5, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [step for step in steps if low <= step <= high]


def _window(ground: _Ground, plans: Sequence[Mapping]) -> tuple[np.ndarray, np.ndarray]:
    """Limits of the axes about a small allowed region and the plans; else the whole grid's."""
    x, y, allowed = ground.x, ground.y, ground.allowed
    if allowed.all() or not allowed.any():
        return x[[0, -1]], y[[0, -1]]
    ends = []
    for places, side, shown in (
        (x, allowed.any(axis=0), [100 * plan["replay"] for plan in plans]),
        (np.log(y), allowed.any(axis=1), [np.log(plan["atpp"]) for plan in plans]),
    ):
        inside = np.clip([*places[side], *shown], places[0], places[-1])
        low, high = inside.min(), inside.max()
        margin = max(0.5 * (high - low), 0.12 * np.ptp(places))
        ends.append(np.clip([low - margin, high + margin], places[0], places[-1]))
    # As they stand on the grid, whatever rounding does to them.
    return ends[0], np.clip(np.exp(ends[1]), y[0], y[-1])


def _title(chosen: Mapping | None, allowed: np.ndarray) -> str:
    """The law and the model, and what the colour means."""
    known = {} if chosen is None else chosen
    parts = [law_name(known["law"])] if "law" in known else []
    parts += [f"N = {short_number(known['n_params'])}"] if "n_params" in known else []
    parts += [f"PTPP {known['ptpp']:g}"] if "ptpp" in known else []
    meaning = "" if allowed.all() else "colour: where all limits are kept"
    meaning = meaning if allowed.any() else "no point keeps all limits"
    return "\n".join(filter(None, [", ".join(parts), meaning]))


def _mark_plan(axis: Axes, plan: Mapping, name: str, marker: str) -> Line2D:
    """`marker` at a feasible plan, a cross at the least bad point."""
    feasible = bool(plan.get("feasible", True))
    look = {
        "marker": marker if feasible else {"*": "X", "D": "P"}[marker],
        "markersize": {"*": 11, "D": 6}[marker] if feasible else 8,
        "color": "white",
        "markeredgecolor": "black",
        "markeredgewidth": 0.9,
        "linestyle": "none",
    }
    replay, atpp = 100 * plan["replay"], plan["atpp"]
    # A plan beyond the grid stands at the edge, and the legend says so.
    shown = np.clip(replay, *axis.get_xlim()), np.clip(atpp, *axis.get_ylim())
    beyond = "" if np.allclose(shown, (replay, atpp), rtol=1e-6) else ", beyond the edge"
    axis.plot(*([place] for place in shown), clip_on=False, zorder=5, **look)
    name = name if feasible else f"no {name}; least bad"
    return Line2D([], [], label=f"{name}: replay {replay:.3g} %, ATPP {atpp:.3g}{beyond}", **look)


def _pale_blues() -> Colormap:
    """A ramp pale enough for contours, hatching and marks on top."""
    return ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0.02, 0.65, 256)))


def _levels(surface: np.ndarray) -> list[float]:
    """Up to four contour levels: 1, 2, 5 times powers of ten inside the surface's range."""
    steps = [s for s in canvas.round_steps(surface.min(), surface.max()) if s < surface.max()]
    return steps[-4:] or [float(np.median(surface))]
