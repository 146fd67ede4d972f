"""Figures of the measurements: pre-training, adaptation and forgetting."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ptpp.errors import InputError
from ptpp.report.figures.style import (
    LINES,
    MARKERS,
    PALETTE,
    PLAIN_NUMBERS,
    add_legend,
    assign_looks,
    check_columns,
    colour_ramp,
    draw_lines,
    fix_ticks,
    lay_out,
    legend_key,
    log_ticks,
    name_columns,
    name_rows,
    new_panels,
    pad_range,
    replay_label,
    replay_looks,
    select_domain,
    size_label,
    size_names,
    style,
)
from ptpp.table.kinds import forgetting_rows, is_control, is_zero_shot

# Forgetting spans hundredths of a nat with replay and several nats without: the axis is linear
# below this many nats and logarithmic above (inverse hyperbolic sine).
LINEAR_FORGETTING = 0.1


@style()
def adaptation(observations: pd.DataFrame, target: str) -> Figure:
    """Target loss against ATPP: rows = sizes, columns = stages, colour = replay ratio.

    `observations`: the observation table. Lines are means over seeds, bands one sample standard
    deviation over seeds to each side, the dashed line is the checkpoint before adaptation.
    Raises InputError when the target domain has no adapted rows.
    """
    rows = select_domain(observations, target)
    adapted = rows[~is_zero_shot(rows)]
    if adapted.empty:
        raise InputError(f"figure adaptation: no adapted rows (atpp > 0) of domain {target!r}")
    sizes, stages = size_names(adapted), sorted(adapted["ptpp"].unique())
    colours, markers = replay_looks(adapted["replay"])
    figure, axes = new_panels(len(sizes), len(stages), height=1.55, sharex=True, sharey="row")
    for i, size in enumerate(sizes):
        for j, stage in enumerate(stages):
            axis = axes[i, j]
            here = rows[(rows["size"] == size) & (rows["ptpp"] == stage)]
            draw_lines(axis, here[~is_zero_shot(here)], "atpp", "loss", "replay", colours, markers)
            before = here.loc[is_zero_shot(here), "loss"]
            if len(before):
                axis.axhline(before.mean(), color="0.2", linestyle="--", linewidth=0.9)
    log_ticks(axes[0, 0], "x", adapted["atpp"])
    name_columns(axes, [f"PTPP {stage:g}" for stage in stages])
    name_rows(axes, [size_label(adapted, size) for size in sizes])
    handles = [legend_key(colours[r], markers[r], replay_label(r)) for r in colours]
    if is_zero_shot(rows).any():
        handles.append(Line2D([], [], color="0.2", linestyle="--", label="before CPT"))
    add_legend(figure, handles, title="replay ratio")
    figure.supxlabel("ATPP (adaptation tokens per parameter)")
    figure.supylabel(f"{target} loss (nats/token)")
    return lay_out(figure)


@style()
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
    size = size_names(adapted)[-1]
    largest = observations[observations["size"] == size]
    tables = {domain: forgetting_rows(largest, domain) for domain in base_domains}
    rows = pd.concat(tables.values())
    stages, budgets = sorted(rows["ptpp"].unique()), sorted(rows["atpp"].unique())
    colours = colour_ramp(budgets, "magma", 0.1, 0.85)
    markers = assign_looks(budgets, MARKERS)
    figure, axes = new_panels(len(tables), len(stages), height=1.9, sharex=True, sharey=True)
    for i, table in enumerate(tables.values()):
        for j, stage in enumerate(stages):
            axis = axes[i, j]
            axis.axhline(0, color="0.2", linewidth=0.8, zorder=1)
            here = table[table["ptpp"] == stage]
            draw_lines(axis, here, "replay", "forgetting", "atpp", colours, markers)
    # Small replay ratios matter most and would fall on one another on a linear axis.
    axes[0, 0].set_xscale("function", functions=(_signed_root, _signed_square))
    axes[0, 0].set_xlim(-0.003, 1.1 * max(rows["replay"].max(), 0.1))
    _share_ticks(axes[0, 0], rows["replay"])
    _forgetting_scale(axes[0, 0], rows["forgetting"])
    name_columns(axes, [f"PTPP {stage:g}" for stage in stages])
    name_rows(axes, list(tables))
    handles = [legend_key(colours[a], markers[a], f"{a:g}") for a in budgets]
    add_legend(figure, handles, title="ATPP")
    figure.supxlabel(
        "replay ratio (square-root axis; 1 = control without target text)"
        if is_control(rows).any()
        else "replay ratio (square-root axis)"
    )
    figure.supylabel("forgetting (nats/token)")
    figure.suptitle(f"largest size: {size_label(rows, size)}")
    return lay_out(figure)


@style()
def pretraining(curves: pd.DataFrame, stages: Sequence[float]) -> Figure:
    """Training loss against tokens per parameter, both logarithmic; one colour per size.

    `curves`: model, size, seed, n_params, tokens, loss (nats/token). Thin lines are single models;
    where a size has several, the thick line is their mean at the token counts that all logged.
    `stages` (PTPP) are marked. Raises InputError when there are no curves.
    """
    check_columns(curves, ("model", "size", "seed", "n_params", "tokens", "loss"), "pretraining")
    curves = curves[curves["tokens"] > 0]
    curves = curves.assign(tokens_per_param=curves["tokens"] / curves["n_params"])
    sizes = size_names(curves)
    colours = assign_looks(sizes, PALETTE)
    dashes = assign_looks(sizes, LINES)
    figure, axes = new_panels(1, 1, height=2.9, width=5.0)
    axis = axes[0, 0]
    for size in sizes:
        lines = curves[curves["size"] == size]
        models = lines["model"].nunique()
        if models > 1:
            for _, line in lines.groupby("model"):
                _curve(axis, line, color=colours[size], linewidth=0.5, alpha=0.6)
        present = lines.groupby("tokens_per_param")["model"].transform("nunique")
        shared = lines[present == models]
        mean = shared.groupby("tokens_per_param", as_index=False)["loss"].mean()
        _curve(axis, mean, color=colours[size], linestyle=dashes[size], linewidth=1.4)
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="pre-training tokens per parameter",
        ylabel="training loss (nats/token)",
    )
    axis.xaxis.set_major_formatter(PLAIN_NUMBERS)
    log_ticks(axis, "y", _loss_ticks(*axis.get_ylim()))
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
        Line2D([], [], color=colours[s], linestyle=dashes[s], label=size_label(curves, s))
        for s in sizes
    ]
    if len(stages):
        handles.append(Line2D([], [], color="0.4", linestyle=":", label="stage (PTPP)"))
    add_legend(figure, handles)
    return lay_out(figure)


def _curve(axis: Axes, line: pd.DataFrame, **look) -> None:
    line = line.sort_values("tokens_per_param")
    axis.plot(line["tokens_per_param"], line["loss"], **look)


def _loss_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic loss axis, which seldom spans a whole decade."""
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [t for t in ticks if max(low, 0) < t <= high]


def _share_ticks(axis: Axes, values: Iterable[float]) -> None:
    values = sorted(set(values))
    ticks = values if len(values) <= 6 else [0, 0.1, 0.25, 0.5, 1]
    fix_ticks(axis.xaxis, ticks)


def _forgetting_scale(axis: Axes, values: pd.Series) -> None:
    """Linear for small values; for large ones asinh, with ticks in steps of about three."""
    if values.abs().max() <= 3 * LINEAR_FORGETTING:
        return
    ends = pad_range(np.arcsinh(np.append(values, 0) / LINEAR_FORGETTING), 0.05)
    low, high = LINEAR_FORGETTING * np.sinh(ends)
    steps = np.array([0.1, 0.3, 1, 3, 10])
    ticks = np.concatenate([-steps[::-1], [0], steps])
    axis.set_yscale("asinh", linear_width=LINEAR_FORGETTING)
    axis.set_ylim(low, high)
    fix_ticks(axis.yaxis, ticks[(ticks >= low) & (ticks <= high)])


def _signed_root(x):
    return np.sign(x) * np.sqrt(np.abs(x))


def _signed_square(x):
    return np.sign(x) * np.square(x)
