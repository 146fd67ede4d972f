"""Figures of the measurements: pre-training, adaptation and forgetting."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ptpp.errors import InputError
from ptpp.report.figures import canvas
from ptpp.table.kinds import (
    cell_means,
    forgetting_rows,
    is_control,
    is_zero_shot,
    list_stages,
    with_stages,
)

# Forgetting spans hundredths of a nat with replay and several nats without: the axis is linear
# below this many nats and logarithmic above (inverse hyperbolic sine).
LINEAR_FORGETTING = 0.1


@canvas.style()
def adaptation(observations: pd.DataFrame, target: str) -> Figure:
    """Target loss against ATPP: rows = sizes, columns = stages, colour = replay ratio.

    `observations`: the observation table. Lines are means over seeds, bands one sample standard
    deviation over seeds to each side, the dashed line is the checkpoint before adaptation.
    Raises InputError when the target domain has no adapted rows.
    """
    rows = with_stages(canvas.select_domain(observations, target))
    adapted = rows[~is_zero_shot(rows)]
    if adapted.empty:
        raise InputError(f"figure adaptation: no adapted rows (atpp > 0) of domain {target!r}")
    sizes, stages = canvas.size_names(adapted), list_stages(adapted)
    colours, markers = canvas.replay_looks(adapted["replay"])
    figure, axes = canvas.new_panels(
        len(sizes), len(stages), height=1.55, sharex=True, sharey="row"
    )
    for axis, here in canvas.each_panel(axes, rows, {"size": sizes, "stage": stages}):
        after, before = here[~is_zero_shot(here)], here.loc[is_zero_shot(here), "loss"]
        canvas.draw_lines(axis, after, "atpp", "loss", "replay", colours, markers)
        if len(before):
            axis.axhline(before.mean(), color="0.2", linestyle="--", linewidth=0.9)
    canvas.log_ticks(axes[0, 0], "x", adapted["atpp"])
    labels = [canvas.size_label(adapted, size) for size in sizes]
    canvas.name_panels(axes, map("PTPP {:g}".format, stages), labels)
    handles = [canvas.legend_key(colours[r], markers[r], canvas.replay_label(r)) for r in colours]
    if is_zero_shot(rows).any():
        handles.append(Line2D([], [], color="0.2", linestyle="--", label="before CPT"))
    return canvas.finish(
        figure, handles, title="replay ratio",
        x="ATPP (adaptation tokens per parameter)",
        y=f"{target} loss (nats/token)",
    )  # fmt: skip


@canvas.style()
def forgetting(observations: pd.DataFrame, base_domains: Sequence[str]) -> Figure:
    """Forgetting against replay ratio at the largest size: rows = base domains, columns = stages.

    `observations`: the observation table, zero-shot rows included. Forgetting is the base-domain
    loss after CPT minus the same checkpoint's before (nats/token, means over seeds); one line per
    ATPP. Replay 1 is the re-warmed control. Raises InputError when a base domain has no adapted
    rows, or a checkpoint no zero-shot row.
    """
    if not base_domains:
        raise InputError("figure forgetting: no base domains; at least one is needed")
    observations = with_stages(observations)
    of_domains = observations[observations["domain"].isin(base_domains)]
    adapted = of_domains[~is_zero_shot(of_domains)]
    if adapted.empty:
        raise InputError(
            f"figure forgetting: no adapted rows (atpp > 0) of domains {', '.join(base_domains)}"
        )
    size = canvas.size_names(adapted)[-1]
    largest = observations[observations["size"] == size]
    tables = [
        cell_means(forgetting_rows(largest, domain)).assign(base=domain) for domain in base_domains
    ]
    rows = pd.concat(tables)
    stages, budgets = list_stages(rows), sorted(rows["atpp"].unique())
    colours = canvas.colour_ramp(budgets, "magma", 0.1, 0.85)
    markers = canvas.assign_looks(budgets, canvas.MARKERS)
    figure, axes = canvas.new_panels(len(tables), len(stages), height=1.9, sharex=True, sharey=True)
    for axis, here in canvas.each_panel(axes, rows, {"base": base_domains, "stage": stages}):
        axis.axhline(0, color="0.2", linewidth=0.8, zorder=1)
        canvas.draw_lines(axis, here, "replay", "forgetting", "atpp", colours, markers)
    # Small replay ratios matter most and would fall on one another on a linear axis.
    roots = (lambda x: np.sign(x) * np.sqrt(np.abs(x)), lambda x: np.sign(x) * np.square(x))
    axes[0, 0].set_xscale("function", functions=roots)
    axes[0, 0].set_xlim(-0.003, 1.1 * max(rows["replay"].max(), 0.1))
    shares = sorted(rows["replay"].unique())
    canvas.fix_ticks(axes[0, 0].xaxis, shares if len(shares) <= 6 else [0, 0.1, 0.25, 0.5, 1])
    _forgetting_scale(axes[0, 0], rows["forgetting"])
    canvas.name_panels(axes, map("PTPP {:g}".format, stages), base_domains)
    handles = [canvas.legend_key(colours[a], markers[a], f"{a:g}") for a in budgets]
    control = "; 1 = control without target text" if is_control(rows).any() else ""
    return canvas.finish(
        figure, handles, title="ATPP",
        x=f"replay ratio (square-root axis{control})",
        y="forgetting (nats/token)",
        heading=f"largest size: {canvas.size_label(rows, size)}",
    )  # fmt: skip


@canvas.style()
def pretraining(curves: pd.DataFrame, stages: Sequence[float]) -> Figure:
    """Training loss against tokens per parameter, both logarithmic; one colour per size.

    `curves`: model, size, seed, n_params, tokens, loss (nats/token). Thin lines are single models;
    where a size has several, the thick line is their mean at the token counts that all logged.
    `stages` (PTPP) are marked. Raises InputError when there are no curves.
    """
    canvas.check_columns(
        curves, ("model", "size", "seed", "n_params", "tokens", "loss"), "pretraining"
    )
    curves = curves[curves["tokens"] > 0]
    curves = curves.assign(tokens_per_param=curves["tokens"] / curves["n_params"])
    sizes = canvas.size_names(curves)
    colours = canvas.assign_looks(sizes, canvas.PALETTE)
    dashes = canvas.assign_looks(sizes, canvas.LINES)
    figure, axes = canvas.new_panels(1, 1, height=2.9, width=5.0)
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
    axis.set(xscale="log", yscale="log")
    axis.set(xlabel="pre-training tokens per parameter", ylabel="training loss (nats/token)")
    axis.xaxis.set_major_formatter(canvas.PLAIN_NUMBERS)
    canvas.log_ticks(axis, "y", _loss_ticks(*axis.get_ylim()))
    for stage in stages:
        axis.axvline(stage, color="0.4", linestyle=":", linewidth=0.9)
        axis.annotate(
            f"{stage:g}", (stage, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
            textcoords="offset points", ha="center", fontsize=7, color="0.3",
        )  # fmt: skip
    handles = [
        Line2D([], [], color=colours[s], linestyle=dashes[s], label=canvas.size_label(curves, s))
        for s in sizes
    ]
    if len(stages):
        handles.append(Line2D([], [], color="0.4", linestyle=":", label="stage (PTPP)"))
    return canvas.finish(figure, handles)


def _curve(axis: Axes, line: pd.DataFrame, **look) -> None:
    line = line.sort_values("tokens_per_param")
    axis.plot(line["tokens_per_param"], line["loss"], **look)


def _loss_ticks(low: float, high: float) -> list[float]:
    """Round numbers for a logarithmic loss axis, which seldom spans a whole decade."""
    ticks = MaxNLocator(6, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [t for t in ticks if max(low, 0) < t <= high]


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
