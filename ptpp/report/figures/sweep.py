"""Figures of the measurements: pre-training, adaptation and forgetting."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.interpolate import PchipInterpolator

from ptpp.errors import InputError
from ptpp.laws.levels import best_forecasts
from ptpp.laws.scoring import score
from ptpp.report.figures import canvas
from ptpp.report.names import law_name, size_names
from ptpp.table.kinds import (
    cell_means,
    forgetting_rows,
    is_control,
    is_sweep,
    is_zero_shot,
    list_stages,
    with_stages,
    zero_shot_rows,
)

# Forgetting spans hundredths of a nat with replay and several nats without: the axis is linear
# below this many nats and logarithmic above (inverse hyperbolic sine).
LINEAR_FORGETTING = 0.1
_BEFORE = {"marker": "D", "markersize": 4, "linestyle": "none", "markerfacecolor": "white"}
_BEFORE |= {"color": "0.15", "zorder": 4}
_CONTROL = {"marker": "P", "markersize": 3.5, "linestyle": "none", "markeredgewidth": 0}
_CONTROL |= {"color": canvas.CONTROL_COLOUR}
_FIRST_PTPP = 0.1  # training curves begin there: nothing is learned before


@canvas.style()
def adaptation(
    observations: pd.DataFrame, target: str, predictions: pd.DataFrame | None = None, law: str = ""
) -> Figure:
    """Target loss against ATPP, both logarithmic: rows = sizes, columns = stages, colour = replay.

    `observations`: the observation table. Points are means over seeds, bars one sample standard
    deviation to each side. `predictions`: `PREDICTION_COLUMNS`; the curves of `law` run over the
    points, and titles say how far off they are at a held-out stage. Without them lines join the
    points. A strip beside every row has what saw no target text: the checkpoint before
    adaptation and the controls. Raises InputError when the target domain has no adapted rows, or
    the law no predictions of it.
    """
    rows = with_stages(canvas.select_domain(observations, target))
    before, controls = is_zero_shot(rows), is_control(rows)
    if before.all():
        raise InputError(f"figure adaptation: no adapted rows (atpp > 0) of domain {target!r}")
    swept = rows[~before & ~controls] if (~before & ~controls).any() else rows[~before]
    sizes, stages = size_names(swept), list_stages(swept)
    aside = rows.drop(swept.index)
    replays = sorted(swept["replay"].unique())
    colours = canvas.colour_ramp([r for r in replays if r < 1], "viridis", 0.0, 0.85)
    if 1 in replays:
        colours[1.0] = canvas.CONTROL_COLOUR
    markers = canvas.assign_looks(replays, canvas.MARKERS)
    curves = None
    if predictions is not None:
        curves = _curves_of(predictions, law, target)
    ratios = [1.0] * len(stages) + [0.55] * (not aside.empty)
    figure, axes = canvas.new_panels(len(sizes), len(ratios), height=1.6, width_ratios=ratios)
    panels = axes[:, : len(stages)]
    by = {"size": sizes, "stage": stages}
    for axis, here in canvas.each_panel(panels, cell_means(swept), by):
        axis.sharex(axes[0, 0])
        _draw_cells(axis, here, colours, markers, "none" if curves is not None else "-")
    if curves is not None:
        for axis, here in canvas.each_panel(panels, curves, by):
            for replay, line in here.groupby("replay"):
                axis.plot(*_smooth(line.sort_values("atpp")), color=colours[replay], linewidth=1)
    canvas.log_ticks(axes[0, 0], "x", swept["atpp"])
    for row in panels:
        for axis in row[1:]:
            axis.sharey(row[0])
            axis.tick_params(labelleft=False)
        row[0].autoscale(axis="y")
        canvas.loss_ticks(row[0])
    for axis in axes[:-1].flat:
        axis.tick_params(labelbottom=False)
    for axis in axes[-1]:
        axis.set_xlabel("ATPP (tokens/parameter)")
    titles = [_stage_title(curves, stage) for stage in stages]
    if not aside.empty:
        _draw_aside(axes[:, -1], aside, sizes, stages)
        titles.append(f"without {target} text")
    canvas.name_panels(axes, titles, [canvas.size_label(swept, size) for size in sizes])
    handles = canvas.legend_keys(
        colours, markers, lambda replay: f"replay {canvas.percent(replay)}", line=curves is None
    )
    if curves is not None:
        look = {"color": "0.3", "linewidth": 1}
        handles.append(Line2D([], [], label=f"curves: {law_name(law)}", **look))
    if before.any():
        handles.append(Line2D([], [], label="before adaptation", **_BEFORE))
    if controls.any() and not aside.empty:
        handles.append(Line2D([], [], label="control: replay 100 %", **_CONTROL))
    return canvas.finish(
        figure, handles, "outside upper center", columns=4, y=f"{target} loss (nats/token)"
    )


def _curves_of(predictions: pd.DataFrame, law: str, target: str) -> pd.DataFrame:
    """The law's best-informed forecast under its first protocol, kriged where it was."""
    rows = predictions[(predictions["law"] == law) & (predictions["domain"] == target)]
    if rows.empty:
        raise InputError(f"figure adaptation: no predictions of {target!r} by the law {law!r}")
    return with_stages(best_forecasts(rows[rows["protocol"] == rows["protocol"].iloc[0]]))


def _smooth(line: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """A law's curve through its values at the measured ATPP, monotone between them."""
    atpp, loss = np.log(line["atpp"].to_numpy()), np.log(line["predicted"].to_numpy())
    if len(line) < 2:
        return np.exp(atpp), np.exp(loss)
    dense = np.linspace(atpp[0], atpp[-1], 60)
    return np.exp(dense), np.exp(PchipInterpolator(atpp, loss)(dense))


def _draw_cells(axis: Axes, cells: pd.DataFrame, colours: Mapping, markers: Mapping, line: str):
    for replay, cell in cells.groupby("replay"):
        axis.errorbar(
            cell["atpp"], cell["loss"], cell["loss_sd"].fillna(0), color=colours[replay],
            marker=markers[replay], linestyle=line, markersize=3, markeredgewidth=0,
            elinewidth=0.7, alpha=0.9,
        )  # fmt: skip


def _draw_aside(
    axes: np.ndarray, aside: pd.DataFrame, sizes: Sequence[str], stages: Sequence[float]
) -> None:
    """Rows without target text: a place per stage, and within it the controls by ATPP."""
    cells = cell_means(aside)
    budgets = sorted(cells.loc[cells["atpp"] > 0, "atpp"].unique())
    shifts = dict(zip(budgets, 0.11 * (1 + np.arange(len(budgets))), strict=True)) | {0.0: 0.0}
    scale = 1 / max(1, 0.12 * (len(budgets) + 1) / 0.7)
    place = cells["stage"].map(stages.index) + scale * (cells["atpp"].map(shifts) - 0.3)
    cells = cells.assign(place=place)
    for axis, size in zip(axes, sizes, strict=True):
        here = cells[cells["size"] == size]
        for rows, look in ((here["atpp"] > 0, _CONTROL), (here["atpp"] == 0, _BEFORE)):
            axis.plot(here["place"][rows], here["loss"][rows], **look)
        axis.grid(False, axis="x")
        axis.set_xticks(range(len(stages)), [f"{stage:g}" for stage in stages])
        axis.set_xlim(-0.6, len(stages) - 0.4)
        axis.sharey(axes[0])
    axes[-1].set_xlabel("PTPP")
    low, high = canvas.pad_range(cells["loss"].to_numpy(), 0.15)
    axes[0].set_ylim(low, high)
    axes[0].yaxis.set_major_formatter(canvas.PLAIN_NUMBERS)
    axes[0].locator_params(axis="y", nbins=5)


def _stage_title(curves: pd.DataFrame | None, stage: float) -> str:
    """The stage, and what the law's curves are there: fitted, or a forecast so far off."""
    name = f"PTPP {stage:g}"
    if curves is None:
        return name
    here = curves[curves["stage"] == stage]
    late = here[here["role"] == "held_out"]
    if late.empty:
        return f"{name}: fitted" if len(here) else name
    error = score(late["observed"].to_numpy(), late["predicted"].to_numpy())["mae_rel"]
    return f"{name}: forecast, {100 * error:.1f} % off"


@canvas.style()
def forgetting(
    observations: pd.DataFrame,
    base_domains: Sequence[str],
    limits: Mapping[str, float | None] | None = None,
) -> Figure:
    """Forgetting against replay ratio at the largest size: rows = base domains, columns = stages.

    `observations`: the observation table, zero-shot rows included. Forgetting is the base-domain
    loss after adaptation minus the same checkpoint's before (nats/token, means over seeds); one
    line per ATPP. `limits`: domain -> the plan's limit [nats/token], None for none; it is drawn,
    and titles say from which replay on every measured ATPP keeps it. Raises InputError when a base
    domain has no adapted rows, or a checkpoint no zero-shot row.
    """
    observations = with_stages(observations)
    of_domains = observations[observations["domain"].isin(base_domains)]
    adapted = of_domains[~is_zero_shot(of_domains)]
    if adapted.empty:
        raise InputError(
            f"figure forgetting: no adapted rows (atpp > 0) of domains {', '.join(base_domains)}"
        )
    size = size_names(adapted)[-1]
    largest = observations[observations["size"] == size]
    tables = [
        cell_means(forgetting_rows(largest, domain)).assign(base=domain) for domain in base_domains
    ]
    rows = pd.concat(tables)
    stages, budgets = list_stages(rows), sorted(rows["atpp"].unique())
    colours = canvas.colour_ramp(budgets, "magma", 0.1, 0.75)
    markers = canvas.assign_looks(budgets, canvas.MARKERS)
    height = 2.1
    figure, axes = canvas.new_panels(
        len(tables), len(stages), height=height, sharex=True, sharey=True
    )
    # Small replay ratios matter most and would fall on one another on a linear axis.
    roots = (lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * np.square(x))
    axes[0, 0].set_xscale("function", functions=roots)
    axes[0, 0].set_xlim(-0.003, 1.1 * max(rows["replay"].max(), 0.1))
    shares = sorted(rows["replay"].unique())
    shares = canvas.wide_apart(shares, np.sqrt(shares), 0.08 * np.sqrt(shares[-1]))
    canvas.fix_ticks(axes[0, 0].xaxis, shares)
    axes[0, 0].xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}")
    _forgetting_scale(axes[0, 0], rows["forgetting"])
    for axis, here in canvas.each_panel(axes, rows, {"base": base_domains, "stage": stages}):
        axis.axhline(0, color="0.2", linewidth=0.8, zorder=1)
        if not here.empty:
            seaborn.lineplot(
                here, x="replay", y="forgetting", hue="atpp", style="atpp", palette=colours,
                markers=markers, dashes=False, errorbar="sd", markeredgewidth=0, legend=False,
                err_kws={"linewidth": 0, "alpha": 0.25}, ax=axis,
            )  # fmt: skip
        axis.set(xlabel="", ylabel="")
    panels = canvas.each_panel(axes, rows, {"base": base_domains, "stage": stages})
    for number, (axis, here) in enumerate(panels):
        place, last = divmod(number, len(stages))
        limit = (limits or {}).get(base_domains[place])
        title = f"PTPP {stages[last]:g}"
        if canvas.is_known(limit):
            axis.axhline(limit, color=canvas.LIMIT_COLOUR, linestyle="--", linewidth=1, zorder=1)
            title += f": {_kept_from(here, limit)}"
            if last == 0:
                axis.annotate(
                    f"limit {limit:g}", (axis.get_xlim()[1], limit), xytext=(0, 2), ha="right",
                    textcoords="offset points", fontsize=7, color=canvas.LIMIT_COLOUR,
                )  # fmt: skip
        axis.set_title(title)
        if last == 0:
            axis.set_ylabel(f"forgetting of {base_domains[place]} (nats/token)")
        if last == len(stages) - 1:
            ends = here.sort_values("replay").groupby("atpp")["forgetting"].last()
            names = [(f"ATPP {atpp:g}", ends[atpp], colours[atpp]) for atpp in ends.index]
            canvas.label_ends(axis, names, 0.75 * height)
    control = "; 100: control without target text" if is_control(rows).any() else ""
    return canvas.finish(
        figure, [],
        x=f"replay (% of the adaptation tokens, square-root axis{control})",
        heading=f"largest measured size: {canvas.size_label(rows, size)}",
    )  # fmt: skip


def _kept_from(cells: pd.DataFrame, limit: float) -> str:
    """From which replay of the sweep on no measured ATPP forgets more than the limit."""
    most = cells[is_sweep(cells)].groupby("replay")["forgetting"].max().sort_index(ascending=False)
    kept = (most <= limit).cummin()
    if not kept.any():
        return "limit not kept"
    return f"limit kept from {canvas.percent(kept.index[kept][-1])}"


@canvas.style()
def pretraining(
    curves: pd.DataFrame,
    observations: pd.DataFrame,
    mix: Mapping[str, float],
    decay: float | None = None,
) -> Figure:
    """Training loss against tokens per parameter, both logarithmic, and the checkpoints' losses.

    `curves`: model, size, seed, n_params, tokens, loss (nats/token), of the trunks. Thin lines are
    single models; where a size has several, the thick line is their mean at the token counts that
    all logged. Diamonds are the checkpoints: held-out loss before adaptation, from the zero-shot
    rows of `observations`, over the domains of `mix` by their weights; means over seeds. `decay`:
    the share of its budget over which a checkpoint leaves the trunk, drawn as a branch; None where
    it lies on the curve. Raises InputError when there are no curves.
    """
    if curves.empty:
        raise InputError("figure pretraining: the table has no rows")
    curves = curves[curves["tokens"] > 0]
    curves = curves.assign(tokens_per_param=curves["tokens"] / curves["n_params"])
    checkpoints = _checkpoint_losses(observations, mix)
    stages = sorted(checkpoints["stage"].unique())
    curves = curves[curves["tokens_per_param"] >= _FIRST_PTPP]
    sizes = size_names(curves)
    colours = canvas.assign_looks(sizes, canvas.PALETTE)
    height = 3.4
    figure, axes = canvas.new_panels(1, 1, height=height, width=5.6)
    axis, ends = axes[0, 0], []
    for size in sizes:
        lines = curves[curves["size"] == size]
        models = lines["model"].nunique()
        if models > 1:
            for _, line in lines.groupby("model"):
                _curve(axis, line, color=colours[size], linewidth=0.5, alpha=0.6)
        present = lines.groupby("tokens_per_param")["model"].transform("nunique")
        mean = lines[present == models].groupby("tokens_per_param", as_index=False)["loss"].mean()
        _curve(axis, mean, color=colours[size], linewidth=1.4)
        left = checkpoints[checkpoints["size"] == size].sort_values("ptpp")
        if decay is not None:
            begin = (1 - decay) * left["ptpp"]
            logs = np.interp(np.log(begin), np.log(mean["tokens_per_param"]), np.log(mean["loss"]))
            for ptpp, start, loss, end in zip(
                left["ptpp"], begin, np.exp(logs), left["loss"], strict=True
            ):
                axis.plot([start, ptpp], [loss, end], color=colours[size], linestyle=":")
        axis.plot(
            left["ptpp"], left["loss"], "D", color=colours[size], markersize=4.5,
            markeredgecolor="white", markeredgewidth=0.6, zorder=5,
        )  # fmt: skip
        last = left["loss"].iloc[-1] if len(left) else mean["loss"].iloc[-1]
        ends.append((canvas.size_label(curves, size), last, colours[size]))
    axis.set(xscale="log")
    canvas.loss_ticks(axis)
    axis.set(xlabel="pre-training tokens per parameter", ylabel="loss (nats/token)")
    axis.xaxis.set_major_formatter(canvas.PLAIN_NUMBERS)
    for stage in stages:
        axis.axvline(stage, color="0.4", linestyle="--", linewidth=0.6, zorder=0)
        axis.annotate(
            f"PTPP {stage:g}" if stage == stages[-1] else f"{stage:g}",
            (stage, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
            textcoords="offset points", ha="center", fontsize=7, color="0.3",
        )  # fmt: skip
    canvas.label_ends(axis, ends, 0.85 * height)
    handles = [Line2D([], [], color="0.3", label="training loss, at constant rate")]
    if decay is not None:
        label = f"last {canvas.percent(decay)}: rate decays to zero"
        handles.append(Line2D([], [], color="0.3", linestyle=":", label=label))
    mark = {"marker": "D", "markersize": 4.5, "linestyle": "none"}
    handles.append(Line2D([], [], color="0.3", label="checkpoint, held-out loss", **mark))
    return canvas.finish(figure, handles, "outside upper center", columns=3)


def _checkpoint_losses(observations: pd.DataFrame, mix: Mapping[str, float]) -> pd.DataFrame:
    """size, stage, ptpp and loss before adaptation, over the domains of `mix` by their weights."""
    weights = {domain: share for domain, share in mix.items() if share}
    rows = zero_shot_rows(with_stages(observations), list(weights))
    parts = rows.assign(loss=rows["loss"] * rows["domain"].map(weights) / sum(weights.values()))
    return parts.groupby(["size", "stage"], as_index=False).agg(
        ptpp=("ptpp", "mean"), loss=("loss", "sum")
    )


def _curve(axis: Axes, line: pd.DataFrame, **look) -> None:
    line = line.sort_values("tokens_per_param")
    axis.plot(line["tokens_per_param"], line["loss"], **look)


def _forgetting_scale(axis: Axes, values: pd.Series) -> None:
    """Linear for small values; for large ones asinh, with ticks in steps of about three."""
    if values.abs().max() <= 3 * LINEAR_FORGETTING:
        return
    ends = canvas.pad_range(np.arcsinh(np.append(values, 0) / LINEAR_FORGETTING), 0.05)
    low, high = LINEAR_FORGETTING * np.sinh(ends)
    steps = np.array([0.1, 0.3, 1, 3, 10])
    ticks = np.concatenate([-steps[::-1], [0], steps])
    axis.set_yscale("asinh", linear_width=LINEAR_FORGETTING)
    axis.set_ylim(low, high)
    canvas.fix_ticks(axis.yaxis, ticks[(ticks >= low) & (ticks <= high)])
