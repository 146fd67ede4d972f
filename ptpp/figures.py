"""Figures: tidy frames in, matplotlib figures of one style out.

No figure is known to pyplot and no setting outlives a call, so there is nothing to close or to
restore. Losses are nats per token, PTPP and ATPP are tokens per parameter, replay is a share.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Colormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from ptpp.errors import InputError
from ptpp.files import replacing
from ptpp.laws.scoring import PREDICTION_COLUMNS, score
from ptpp.observations import forgetting_rows, is_control, is_zero_shot

WIDTH = 7.0  # inches, the text width of a printed page
DPI = 200
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
CONTROL_COLOUR = "0.55"
CONTOURS = ("#000000", "#d55e00", "#009e73", "#cc79a7")  # dark ones of the same palette
LINES = ("-", "--", "-.", ":")
# Forgetting spans hundredths of a nat with replay and several nats without: the axis is linear
# below this many nats and logarithmic above (inverse hyperbolic sine).
LINEAR_FORGETTING = 0.1
PLAIN_NUMBERS = FuncFormatter(lambda value, _: f"{value:g}".replace("-", "\N{MINUS SIGN}"))
ROLES = {"fit": "fit rows", "held_out": "held-out rows"}


def style() -> AbstractContextManager[None]:
    """The one style, as a context: colour-blind safe, small sans type, embedded TrueType fonts."""
    settings = {
        **seaborn.axes_style("ticks"),
        "font.family": "DejaVu Sans",  # comes with matplotlib, so figures are the same everywhere
        "mathtext.fontset": "dejavusans",
        "font.size": 8,
        "axes.labelsize": 8,
        "axes.titlesize": 8,
        "axes.titlepad": 4,
        "figure.labelsize": 8,
        "figure.titlesize": 8,
        "xtick.labelsize": 7,
        "ytick.labelsize": 7,
        "legend.fontsize": 7,
        "legend.title_fontsize": 7,
        "legend.frameon": False,
        "legend.handlelength": 1.6,
        "axes.linewidth": 0.6,
        "axes.grid": True,
        "grid.linewidth": 0.4,
        "grid.color": "0.9",
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "lines.linewidth": 1.2,
        "lines.markersize": 3.5,
        "axes.prop_cycle": matplotlib.cycler(color=seaborn.color_palette("colorblind")),
        "hatch.color": "0.45",
        "hatch.linewidth": 0.4,
        "pdf.fonttype": 42,
        "savefig.bbox": None,
    }
    return matplotlib.rc_context(settings)


def save(figure: Figure, stem: str | os.PathLike) -> None:
    """Write `stem`.pdf and `stem`.png (200 dpi), each whole or absent, the same bytes each time."""
    metadata = {"pdf": {"CreationDate": None}, "png": {"Software": None}}
    for kind, entries in metadata.items():
        # Not with_suffix: a stem such as "floor.early_to_late" has dots of its own.
        with style(), replacing(Path(f"{os.fspath(stem)}.{kind}")) as temporary:
            figure.savefig(temporary, format=kind, dpi=DPI, metadata=entries)


def adaptation(observations: pd.DataFrame, target: str) -> Figure:
    """Target loss against ATPP: rows = sizes, columns = stages, colour = replay ratio.

    `observations`: the observation table. Lines are means over seeds, bands one sample standard
    deviation over seeds to each side, the dashed line is the checkpoint before adaptation.
    Raises InputError when the target domain has no adapted rows.
    """
    rows = _of_domain(observations, target)
    adapted = rows[~is_zero_shot(rows)]
    if adapted.empty:
        raise InputError(f"figure adaptation: no adapted rows (atpp > 0) of domain {target!r}")
    sizes, stages = _sizes(adapted), sorted(adapted["ptpp"].unique())
    colours, markers = _replay_looks(adapted["replay"])
    with style():
        figure, axes = _panels(len(sizes), len(stages), height=1.55, sharex=True, sharey="row")
        for i, size in enumerate(sizes):
            for j, stage in enumerate(stages):
                axis = axes[i, j]
                here = rows[(rows["size"] == size) & (rows["ptpp"] == stage)]
                _lines(axis, here[~is_zero_shot(here)], "atpp", "loss", "replay", colours, markers)
                before = here.loc[is_zero_shot(here), "loss"]
                if len(before):
                    axis.axhline(before.mean(), color="0.2", linestyle="--", linewidth=0.9)
        _log_ticks(axes[0, 0], "x", adapted["atpp"])
        _name_columns(axes, [f"PTPP {stage:g}" for stage in stages])
        _name_rows(axes, [_size_name(adapted, size) for size in sizes])
        handles = [_key(colours[r], markers[r], _replay_name(r)) for r in colours]
        if is_zero_shot(rows).any():
            handles.append(Line2D([], [], color="0.2", linestyle="--", label="before CPT"))
        _legend(figure, handles, title="replay ratio")
        figure.supxlabel("ATPP (adaptation tokens per parameter)")
        figure.supylabel(f"{target} loss (nats/token)")
        return _laid_out(figure)


def calibration(predictions: pd.DataFrame, noise_floor: float | None, domain: str) -> Figure:
    """Observed against predicted loss of held-out rows: columns = laws, rows = protocols.

    `predictions`: `PREDICTION_COLUMNS`, with role "fit" or "held_out" and losses in nats/token.
    `noise_floor`: relative seed noise of one run, drawn as a band about the identity; None or NaN
    draws none. Observed is on the vertical axis, so that the printed calibration slope (least
    squares of observed on predicted) is the slope one sees. Raises InputError when the domain has
    no held-out rows.
    """
    rows = _predictions(predictions, domain, "calibration")
    rows = rows[rows["role"] == "held_out"]
    if rows.empty:
        raise InputError(f"figure calibration: no held-out rows of domain {domain!r}")
    laws, protocols = list(rows["law"].unique()), list(rows["protocol"].unique())
    sizes = _sizes(rows)
    colours, _ = _replay_looks(rows["replay"])
    markers = dict(zip(sizes, _cycle(MARKERS, len(sizes)), strict=True))
    ends = _padded(rows[["observed", "predicted"]].to_numpy(), 0.04)
    with style():
        side = max(1.35, min(2.8, (WIDTH - 0.7) / len(laws)))  # of a square panel, inches
        width = max(4.2, min(WIDTH, side * len(laws) + 0.7))
        figure, axes = _panels(
            len(protocols), len(laws), height=side + 0.1, width=width, sharex=True, sharey=True
        )
        for i, protocol in enumerate(protocols):
            for j, law in enumerate(laws):
                axis = axes[i, j]
                panel = rows[(rows["protocol"] == protocol) & (rows["law"] == law)]
                axis.plot(ends, ends, color="0.2", linewidth=0.8, zorder=1)
                if _known(noise_floor):
                    low, high = ends * (1 - noise_floor), ends * (1 + noise_floor)
                    axis.fill_between(ends, low, high, color="0.75", linewidth=0, zorder=0)
                _calibration_points(axis, panel, colours, markers)
                axis.set(xlim=ends, ylim=ends)
                axis.set_box_aspect(1)
        for line in (axes[0, 0].xaxis, axes[0, 0].yaxis):
            line.set_major_locator(MaxNLocator(4))
        _name_columns(axes, [_plain(law) for law in laws])
        _name_rows(axes, [_plain(protocol) for protocol in protocols])
        handles = [_key("0.3", markers[s], _size_name(rows, s), line=False) for s in sizes]
        handles += [_key(colours[r], "o", f"replay {_replay_name(r)}", line=False) for r in colours]
        handles.append(Line2D([], [], color="0.2", linewidth=0.8, label="identity"))
        if _known(noise_floor):
            handles.append(Patch(color="0.75", label="seed noise"))
        _legend(figure, handles, "outside upper center", columns=3 if width < WIDTH else 5)
        figure.supxlabel(f"predicted {domain} loss (nats/token)")
        figure.supylabel(f"observed {domain} loss (nats/token)")
        return _laid_out(figure)


def forgetting(observations: pd.DataFrame, base_domains: Sequence[str]) -> Figure:
    """Forgetting against replay ratio at the largest size: rows = base domains, columns = stages.

    `observations`: the observation table, zero-shot rows included. Forgetting is the base-domain
    loss after CPT minus the same checkpoint's before (nats/token, means over seeds); one line per
    ATPP. Replay 1 is the re-warmed control. Raises InputError when a base domain has no adapted
    rows, or a checkpoint no zero-shot row.
    """
    if not base_domains:
        raise InputError("figure forgetting: no base domains; at least one is needed")
    of_domains = observations[observations["domain"].isin(base_domains)]
    adapted = of_domains[~is_zero_shot(of_domains)]
    if adapted.empty:
        raise InputError(
            f"figure forgetting: no adapted rows (atpp > 0) of domains {', '.join(base_domains)}"
        )
    size = _sizes(adapted)[-1]
    largest = observations[observations["size"] == size]
    tables = {domain: forgetting_rows(largest, domain) for domain in base_domains}
    rows = pd.concat(tables.values())
    stages, budgets = sorted(rows["ptpp"].unique()), sorted(rows["atpp"].unique())
    colours = _ordered_colours(budgets, "magma", 0.1, 0.85)
    markers = dict(zip(budgets, _cycle(MARKERS, len(budgets)), strict=True))
    with style():
        figure, axes = _panels(len(tables), len(stages), height=1.9, sharex=True, sharey=True)
        for i, table in enumerate(tables.values()):
            for j, stage in enumerate(stages):
                axis = axes[i, j]
                axis.axhline(0, color="0.2", linewidth=0.8, zorder=1)
                here = table[table["ptpp"] == stage]
                _lines(axis, here, "replay", "forgetting", "atpp", colours, markers)
        # Small replay ratios matter most and would fall on one another on a linear axis.
        axes[0, 0].set_xscale("function", functions=(_signed_root, _signed_square))
        axes[0, 0].set_xlim(-0.003, 1.1 * max(rows["replay"].max(), 0.1))
        _share_ticks(axes[0, 0], rows["replay"])
        _forgetting_scale(axes[0, 0], rows["forgetting"])
        _name_columns(axes, [f"PTPP {stage:g}" for stage in stages])
        _name_rows(axes, list(tables))
        handles = [_key(colours[a], markers[a], f"{a:g}") for a in budgets]
        _legend(figure, handles, title="ATPP")
        figure.supxlabel(
            "replay ratio (square-root axis; 1 = control without target text)"
            if is_control(rows).any()
            else "replay ratio (square-root axis)"
        )
        figure.supylabel("forgetting (nats/token)")
        figure.suptitle(f"largest size: {_size_name(rows, size)}")
        return _laid_out(figure)


def residuals(predictions: pd.DataFrame, noise_floor: float | None, domain: str) -> Figure:
    """Relative residuals (observed / predicted - 1, percent) by stage, per law and protocol.

    `predictions` and `noise_floor` as for `calibration`. Within a stage rows stand from left to
    right by log ATPP, so that a law's misfit along ATPP shows as a slope. Raises InputError when
    the domain has no rows.
    """
    rows = _predictions(predictions, domain, "residuals")
    laws, protocols = list(rows["law"].unique()), list(rows["protocol"].unique())
    stages = sorted(rows["ptpp"].unique())
    rows = rows.assign(
        residual=100 * (rows["observed"] / rows["predicted"] - 1),
        position=rows["ptpp"].map(stages.index) + _spread(rows["atpp"], 0.7),
    )
    blue, orange = seaborn.color_palette("colorblind")[:2]
    colours, markers = {"fit": blue, "held_out": orange}, {"fit": "o", "held_out": "^"}
    with style():
        figure, axes = _panels(len(protocols), len(laws), height=1.7, sharex=True, sharey=True)
        for i, protocol in enumerate(protocols):
            for j, law in enumerate(laws):
                axis = axes[i, j]
                axis.axhline(0, color="0.2", linewidth=0.8, zorder=1)
                if _known(noise_floor):
                    axis.axhspan(
                        -100 * noise_floor, 100 * noise_floor, color="0.85", linewidth=0, zorder=0
                    )
                panel = rows[(rows["protocol"] == protocol) & (rows["law"] == law)]
                _points(axis, panel, "position", "residual", "role", "role", colours, markers, 9)
                axis.grid(False, axis="x")
        axes[0, 0].set_xlim(-0.5, len(stages) - 0.5)
        axes[0, 0].set_xticks(range(len(stages)), [f"{stage:g}" for stage in stages])
        _name_columns(axes, [_plain(law) for law in laws])
        _name_rows(axes, [_plain(protocol) for protocol in protocols])
        present = set(rows["role"])
        handles = [
            _key(colours[role], markers[role], name, line=False)
            for role, name in ROLES.items()
            if role in present
        ]
        if _known(noise_floor):
            handles.append(Patch(color="0.85", label="seed noise"))
        _legend(figure, handles)
        figure.supxlabel("PTPP (within a stage: log ATPP, left to right)")
        figure.supylabel(f"{domain} loss: observed / predicted - 1 (%)")
        return _laid_out(figure)


def pretraining(curves: pd.DataFrame, stages: Sequence[float]) -> Figure:
    """Training loss against tokens per parameter, both logarithmic; one colour per size.

    `curves`: model, size, seed, n_params, tokens, loss (nats/token). Thin lines are single models;
    where a size has several, the thick line is their mean at the token counts all of them logged.
    `stages` (PTPP) are marked. Raises InputError when there are no curves.
    """
    _need(curves, ("model", "size", "seed", "n_params", "tokens", "loss"), "pretraining")
    curves = curves[curves["tokens"] > 0]
    curves = curves.assign(tokens_per_param=curves["tokens"] / curves["n_params"])
    sizes = _sizes(curves)
    colours = dict(zip(sizes, _cycle(seaborn.color_palette("colorblind"), len(sizes)), strict=True))
    dashes = dict(zip(sizes, _cycle(LINES, len(sizes)), strict=True))
    with style():
        figure, axes = _panels(1, 1, height=2.9, width=5.0)
        axis = axes[0, 0]
        for size in sizes:
            lines = curves[curves["size"] == size]
            models = lines["model"].nunique()
            if models > 1:
                for _, line in lines.groupby("model"):
                    _curve(axis, line, color=colours[size], linewidth=0.5, alpha=0.6)
            logged = lines.groupby("tokens_per_param")["model"].transform("nunique")
            shared = lines[logged == models]
            mean = shared.groupby("tokens_per_param", as_index=False)["loss"].mean()
            _curve(axis, mean, color=colours[size], linestyle=dashes[size], linewidth=1.4)
        axis.set(
            xscale="log",
            yscale="log",
            xlabel="pre-training tokens per parameter",
            ylabel="training loss (nats/token)",
        )
        axis.xaxis.set_major_formatter(PLAIN_NUMBERS)
        _log_ticks(axis, "y", _loss_ticks(*axis.get_ylim()))
        for stage in stages:
            axis.axvline(stage, color="0.4", linestyle=":", linewidth=0.9)
            axis.annotate(
                f"{stage:g}",
                (stage, 1),
                xycoords=("data", "axes fraction"),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color="0.3",
            )
        handles = [
            Line2D([], [], color=colours[s], linestyle=dashes[s], label=_size_name(curves, s))
            for s in sizes
        ]
        if len(stages):
            handles.append(Line2D([], [], color="0.4", linestyle=":", label="stage (PTPP)"))
        _legend(figure, handles)
        return _laid_out(figure)


def plan(grid: pd.DataFrame, chosen: Mapping | None, limits: Mapping[str, float | None]) -> Figure:
    """Predicted target loss over replay ratio and ATPP, with limits and the chosen plan.

    `grid`: every pair of some `replay` and `atpp` values once, with columns `target_loss` and
    `forgetting_<name>` (nats/token). `limits`: column of `grid` -> most that is allowed; its
    contour is drawn and what exceeds any limit is hatched; None and NaN are no limits. A forgetting
    column without a limit gets a few contours at round values. `chosen` has `replay` and `atpp`,
    and `feasible` where that may be false; None marks nothing. Raises InputError when the grid has
    gaps or twice the same pair.

    The highest tenth of the losses shares one colour, since they soar where ATPP or the target
    share is small.
    """
    forgotten = [c for c in grid.columns if str(c).startswith("forgetting_")]
    limits = {column: limit for column, limit in limits.items() if _known(limit)}
    _need(grid, ("replay", "atpp", "target_loss", *limits), "plan")
    columns = dict.fromkeys(["target_loss", *forgotten, *limits])
    surfaces = {column: _surface(grid, column) for column in columns}
    x, y = np.sort(grid["replay"].unique()), np.sort(grid["atpp"].unique())
    contoured = [c for c in columns if c in forgotten or c in limits]
    colours = dict(zip(contoured, _cycle(CONTOURS, len(contoured)), strict=True))
    with style():
        figure, axes = _panels(1, 1, height=3.4, width=5.2)
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
        for column, line in zip(contoured, _cycle(LINES, len(contoured)), strict=True):
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
            handles.append(_mark_plan(axis, chosen))
        axis.set(xlabel="replay ratio", ylabel="ATPP (adaptation tokens per parameter)")
        _log_ticks(axis, "y", _round_steps(y[0], y[-1]))
        bar = figure.colorbar(
            mesh, ax=axis, label="predicted target loss (nats/token)", pad=0.02, extend="max"
        )
        bar.add_lines(isolines)
        _legend(figure, handles, "outside lower center", columns=2)
        return _laid_out(figure)


def _lines(
    axis: Axes, rows: pd.DataFrame, x: str, y: str, by: str, colours: Mapping, markers: Mapping
) -> None:
    """A line per value of `by`: means over seeds, with a band of one standard deviation."""
    if not rows.empty:
        seaborn.lineplot(
            rows,
            x=x,
            y=y,
            hue=by,
            style=by,
            palette=colours,
            markers=markers,
            dashes=False,
            errorbar="sd",
            err_kws={"linewidth": 0, "alpha": 0.25},
            markeredgewidth=0,
            legend=False,
            ax=axis,
        )
    axis.set(xlabel="", ylabel="")


def _points(
    axis: Axes,
    rows: pd.DataFrame,
    x: str,
    y: str,
    hue: str,
    style: str,
    colours: Mapping,
    markers: Mapping,
    area: float,
) -> None:
    """A marker per row; `area` in square points."""
    if not rows.empty:
        seaborn.scatterplot(
            rows,
            x=x,
            y=y,
            hue=hue,
            style=style,
            palette=colours,
            markers=markers,
            s=area,
            alpha=0.8,
            linewidth=0,
            legend=False,
            ax=axis,
        )
    axis.set(xlabel="", ylabel="")


def _calibration_points(axis: Axes, panel: pd.DataFrame, colours: Mapping, markers: Mapping):
    if panel.empty:
        return
    _points(axis, panel, "predicted", "observed", "replay", "size", colours, markers, 14)
    scores = score(panel["observed"].to_numpy(), panel["predicted"].to_numpy())
    lines = [
        f"MAErel {100 * scores['mae_rel']:.2f} %",
        f"slope {scores['calibration_slope']:.2f}",
        f"n = {len(panel)}",
    ]
    axis.text(
        0.04, 0.96, "\n".join(lines), transform=axis.transAxes, va="top", fontsize=6.5,
        bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 1},
    )  # fmt: skip


def _limit_name(column: str, limit: float | None, surface: np.ndarray) -> str:
    name = _plain(column)
    if limit is None:
        return name
    where = " (nowhere met)" if surface.min() > limit else ""
    where = " (met everywhere)" if surface.max() <= limit else where
    return f"{name} = {limit:.3g}{where}"


def _mark_plan(axis: Axes, chosen: Mapping) -> Line2D:
    feasible = bool(chosen.get("feasible", True))
    look = {
        "marker": "*" if feasible else "X",
        "markersize": 11 if feasible else 8,
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
    name = "plan" if feasible else "infeasible, least excess"
    return Line2D([], [], label=f"{name} (r = {replay:.3g}, A = {atpp:.3g}{beyond})", **look)


def _curve(axis: Axes, line: pd.DataFrame, **look) -> None:
    line = line.sort_values("tokens_per_param")
    axis.plot(line["tokens_per_param"], line["loss"], **look)


def _panels(
    rows: int, columns: int, height: float, width: float = WIDTH, **shared
) -> tuple[Figure, np.ndarray]:
    """A figure that pyplot does not know, and its axes (rows, columns); `height` is of one row."""
    # A page holds about five panels side by side; more make the figure wider, not the panels small.
    figure = Figure(
        figsize=(max(width, 1.35 * columns + 1), height * rows + 0.7), layout="constrained"
    )
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **shared)


def _laid_out(figure: Figure) -> Figure:
    """Lay out once and for all: each further pass would move things a little."""
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


def _name_columns(axes: np.ndarray, names: Iterable[str]) -> None:
    for axis, name in zip(axes[0], names, strict=True):
        axis.set_title(name)


def _name_rows(axes: np.ndarray, names: Iterable[str]) -> None:
    for axis, name in zip(axes[:, -1], names, strict=True):
        axis.annotate(
            name, (1, 0.5), xycoords="axes fraction", xytext=(4, 0), textcoords="offset points",
            rotation=270, ha="left", va="center",
        )  # fmt: skip


def _legend(
    figure: Figure, handles: list, place: str = "outside right upper", columns: int = 1, **settings
) -> None:
    figure.legend(handles=handles, loc=place, ncols=min(columns, max(1, len(handles))), **settings)


def _key(colour, marker: str, label: str, line: bool = True) -> Line2D:
    return Line2D(
        [], [], color=colour, marker=marker, label=label, markeredgewidth=0,
        linestyle="-" if line else "none",
    )  # fmt: skip


def _replay_looks(replays: pd.Series) -> tuple[dict, dict]:
    """Colour and marker per replay ratio, ascending; the control (1) is grey, outside the ramp."""
    values = sorted(replays.unique())
    colours = _ordered_colours([r for r in values if r < 1], "viridis", 0.0, 0.85)
    if 1 in values:
        colours[1.0] = CONTROL_COLOUR
    return colours, dict(zip(values, _cycle(MARKERS, len(values)), strict=True))


def _ordered_colours(values: Sequence, name: str, low: float, high: float) -> dict:
    """Colours of a perceptually uniform ramp, without its palest end, which print loses."""
    ramp = matplotlib.colormaps[name]
    places = np.linspace(low, high, len(values)) if len(values) > 1 else [(low + high) / 2]
    return {value: ramp(place) for value, place in zip(values, places, strict=True)}


def _pale_blues() -> Colormap:
    """A ramp pale enough for contours, hatching and marks on top."""
    return ListedColormap(matplotlib.colormaps["Blues"](np.linspace(0.02, 0.65, 256)))


def _cycle(items: Sequence, count: int) -> list:
    return [items[i % len(items)] for i in range(count)]


def _replay_name(replay: float) -> str:
    return "1 (control)" if replay == 1 else f"{replay:g}"


def _plain(name: str) -> str:
    return str(name).replace("_", " ")


def _sizes(frame: pd.DataFrame) -> list[str]:
    """Names of the sizes, smallest first."""
    return list(frame.sort_values(["n_params", "size"])["size"].unique())


def _size_name(frame: pd.DataFrame, size: str) -> str:
    """Name and parameters of a size; a table without names calls sizes by their parameters."""
    n_params = float(frame.loc[frame["size"] == size, "n_params"].iloc[0])
    count = _short(n_params)
    return f"N = {count}" if str(size) == f"{n_params:.0f}" else f"{size} (N = {count})"


def _short(number: float) -> str:
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:.3g}"


def _of_domain(frame: pd.DataFrame, domain: str) -> pd.DataFrame:
    rows = frame[frame["domain"] == domain]
    if rows.empty:
        found = ", ".join(map(repr, sorted(frame["domain"].unique()))) or "none"
        raise InputError(f"figure: no rows of domain {domain!r}; domains found: {found}")
    return rows


def _predictions(frame: pd.DataFrame, domain: str, figure: str) -> pd.DataFrame:
    _need(frame, PREDICTION_COLUMNS, figure)
    unknown = sorted(set(frame["role"]) - set(ROLES))
    if unknown:
        raise InputError(
            f"figure {figure}: column role: found {unknown[0]!r}; accepted: {', '.join(ROLES)}"
        )
    return _of_domain(frame, domain)


def _need(frame: pd.DataFrame, columns: Iterable[str], figure: str) -> None:
    for column in columns:
        if column not in frame:
            raise InputError(f"figure {figure}: no column {column!r} in the table")
    if frame.empty:
        raise InputError(f"figure {figure}: the table has no rows")


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
    steps = [s for s in _round_steps(surface.min(), surface.max()) if s < surface.max()]
    return steps[-4:] or [float(np.median(surface))]


def _round_steps(low: float, high: float) -> list[float]:
    """1, 2, 5 times powers of ten within [low, high]; none of them below 1e-3."""
    low = max(low, 1e-3)
    if high < low:
        return []
    exponents = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps = [m * 10.0**e for e in exponents for m in (1, 2, 5)]
    return [s for s in steps if low <= s <= high]


def _log_ticks(axis: Axes, which: str, values: Iterable[float]) -> None:
    """A logarithmic axis, ticked at `values` where those are few."""
    values = sorted(set(values))
    axis.set(**{f"{which}scale": "log"})
    line = axis.xaxis if which == "x" else axis.yaxis
    line.set_major_formatter(PLAIN_NUMBERS)
    if 0 < len(values) <= 8:
        line.set_major_locator(FixedLocator(values))
        line.set_minor_locator(NullLocator())


def _loss_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic loss axis, which seldom spans a whole decade."""
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [t for t in ticks if max(low, 0) < t <= high]


def _share_ticks(axis: Axes, values: Iterable[float]) -> None:
    values = sorted(set(values))
    ticks = values if len(values) <= 6 else [0, 0.1, 0.25, 0.5, 1]
    axis.xaxis.set_major_locator(FixedLocator(ticks))
    axis.xaxis.set_major_formatter(PLAIN_NUMBERS)
    axis.xaxis.set_minor_locator(NullLocator())


def _forgetting_scale(axis: Axes, values: pd.Series) -> None:
    """Linear for small values; for large ones asinh, with ticks in steps of about three."""
    if values.abs().max() <= 3 * LINEAR_FORGETTING:
        return
    ends = _padded(np.arcsinh(np.append(values, 0) / LINEAR_FORGETTING), 0.05)
    low, high = LINEAR_FORGETTING * np.sinh(ends)
    steps = np.array([0.1, 0.3, 1, 3, 10])
    ticks = np.concatenate([-steps[::-1], [0], steps])
    axis.set_yscale("asinh", linear_width=LINEAR_FORGETTING)
    axis.set_ylim(low, high)
    axis.yaxis.set_major_locator(FixedLocator(ticks[(ticks >= low) & (ticks <= high)]))
    axis.yaxis.set_major_formatter(PLAIN_NUMBERS)
    axis.yaxis.set_minor_locator(NullLocator())


def _spread(values: pd.Series, width: float) -> np.ndarray:
    """Logs of `values`, moved and scaled to [-width / 2, width / 2]."""
    logs = np.log(values.to_numpy(float))
    span = logs.max() - logs.min()
    return width * ((logs - logs.min()) / span - 0.5) if span > 0 else np.zeros_like(logs)


def _padded(values: np.ndarray, share: float) -> np.ndarray:
    low, high = values.min(), values.max()
    margin = share * (high - low) or 0.05 * abs(high)
    return np.array([low - margin, high + margin])


def _known(number: float | None) -> bool:
    return number is not None and bool(np.isfinite(number))


def _signed_root(x):
    return np.sign(x) * np.sqrt(np.abs(x))


def _signed_square(x):
    return np.sign(x) * np.square(x)
