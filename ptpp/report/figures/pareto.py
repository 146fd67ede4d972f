"""The Pareto front of plans: what more compute and more forgetting buy."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ptpp.errors import InputError
from ptpp.report.figures import canvas
from ptpp.report.names import power


@canvas.style()
def pareto(
    front: pd.DataFrame, robust: pd.DataFrame, law: str, target: str, limit: float | None
) -> Figure:
    """Target loss against forgetting along the front of one law: a line per ATPP.

    `front`, `robust`: the tables of the front and of robust plans. `limit`: the most forgetting
    allowed [nats], None where base domains have several. The star is the robust plan of the model
    that the front is for, where it is feasible. Raises InputError where the law has no front.
    """
    rows = front[front["law"] == law]
    if rows.empty:
        raise InputError(f"figure pareto: no front of the law {law!r}")
    budgets = sorted(rows["atpp"].unique())
    colours = canvas.colour_ramp(budgets, "viridis", 0.0, 0.85)
    height = 3.0
    figure, axes = canvas.new_panels(1, 1, height=height, width=5.6)
    axis, ends = axes[0, 0], []
    for atpp in budgets:
        line = rows[rows["atpp"] == atpp].sort_values("replay")
        x, y = line["worst_forgetting"].to_numpy(), line["target_loss"].to_numpy()
        axis.plot(x, y, "o-", color=colours[atpp], markersize=2.5)
        if {"target_loss_low", "target_loss_high"} <= set(line):
            band = line["target_loss_low"], line["target_loss_high"]
            axis.fill_between(x, *band, color=colours[atpp], alpha=0.12, linewidth=0)
        name = f"ATPP {atpp:.3g}, {power(line['flops'].iloc[0])} FLOPs"
        ends.append((name, y[x.argmax()], colours[atpp]))
    if limit is not None:
        axis.axvline(limit, color=canvas.LIMIT_COLOUR, linestyle="--", linewidth=1)
        axis.annotate(
            f"limit {limit:g}", (limit, 1), xycoords=("data", "axes fraction"), xytext=(3, -8),
            textcoords="offset points", fontsize=7, color=canvas.LIMIT_COLOUR,
        )  # fmt: skip
    handles, plan = [], _robust_plan(rows, robust, law)
    if plan is not None:
        look = {"marker": "*", "markersize": 10, "linestyle": "none"}
        look |= {"markerfacecolor": "white", "markeredgecolor": "0.1"}
        axis.plot(*plan, zorder=5, **look)
        handles.append(Line2D([], [], label="the robust plan", **look))
    canvas.label_ends(axis, ends, 0.85 * height)
    return canvas.finish(
        figure, handles, "outside upper center",
        x="worst forgetting of a base domain (nats/token)", y=f"{target} loss (nats/token)",
    )  # fmt: skip


def _robust_plan(rows: pd.DataFrame, robust: pd.DataFrame, law: str) -> tuple | None:
    """Worst forgetting and loss at the robust plan of the front's model."""
    n_params = np.sqrt(rows["flops"].iloc[0] / rows["atpp"].iloc[0] / 6)
    mine = (robust["law"] == law) & (np.abs(robust["n_params"] / n_params - 1) < 1e-6)
    plan = robust[mine & robust["feasible"].astype(bool)]
    names = [n for n in rows if n.startswith("forgetting_") and f"{n}_limit" in plan]
    if plan.empty or not names:
        return None
    return plan[names].iloc[0].max(), plan["target_loss"].iloc[0]
