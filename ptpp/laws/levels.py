"""What a forecast knew of the checkpoint, and how it was made: the two labels of every score.

Levels of information: "early", the earlier stages alone; "zero_shot", and the losses of the
checkpoint before adaptation, one evaluation each; "anchors", and some of its adaptation runs.
Forecasts: "law", the fitted law alone; "kriged", the law corrected by its misfit.
"""

from collections.abc import Iterator

import pandas as pd

from ptpp.laws.base_loss import SOURCES, BaseLosses, forecast_base_loss
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.law import Law
from ptpp.table.kinds import (
    cell_means,
    forgetting_rows,
    is_before,
    is_stage,
    is_sweep,
    list_stages,
    target_rows,
    with_stages,
)

INFORMATION = ("early", "zero_shot", "anchors")
FORECASTS = ("law", "kriged")
LAST_STAGE = "last_stage"  # no law: the loss measured at the last early stage, unchanged
CELL = ["size", "replay", "atpp"]


def information_of(law: Law, protocol: str) -> str:
    """What a law knows of the held-out checkpoints when it is fitted under a protocol."""
    if protocol == "with_anchors":
        return "anchors"
    return "zero_shot" if "base_loss" in law.inputs or law.offset else "early"


def information_at(fitted: FittedLaw, ptpp: float, source: str) -> str:
    """What a forecast by this fit knows of a checkpoint at `ptpp`: "anchors" where it has seen
    adaptation runs of that stage. `source`: of the loss before adaptation, for laws that read it.
    """
    rows = fitted.rows
    if rows is not None and "ptpp" in rows and is_stage(rows, ptpp).any():
        return "anchors"
    informed = information_of(fitted.law, fitted.record.protocol)
    return "early" if source == SOURCES[-1] else informed


def forecasts_of(
    fitted: FittedLaw, cells: pd.DataFrame, early: BaseLosses | None = None
) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """The forecasts of `cells` by a fit: information, forecast and a table by `FittedLaw.predict`.

    `early`: the base losses of the early stages. With them a law that reads the checkpoint's base
    loss also forecasts from the early stages alone, its base loss being forecast too; of such a
    forecast no interval is known.
    """
    information = information_of(fitted.law, fitted.record.protocol)
    for name in made_forecasts(fitted):
        yield information, name, fitted.predict(cells, name == "kriged")
    if early is not None and information == "zero_shot" and "base_loss" in fitted.law.inputs:
        guess = forecast_base_loss(early.forecast, cells["n_params"], cells["ptpp"])
        for name in made_forecasts(fitted):
            loss = fitted.loss(cells.assign(base_loss=guess), name == "kriged")
            yield "early", name, pd.DataFrame({"loss": loss})


def made_forecasts(fitted: FittedLaw) -> tuple[str, ...]:
    """Which of `FORECASTS` a fit can make."""
    return FORECASTS if fitted.misfit is not None else FORECASTS[:1]


def best_forecasts(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the one forecast of each law, protocol and domain that figures draw.

    The best informed one (where `table` has the column information), and of that the kriged one
    where it was made.
    """
    rank = table["forecast"].map(FORECASTS.index)
    if "information" in table:
        rank += len(FORECASTS) * table["information"].map(INFORMATION.index)
    best = rank.groupby([table[name] for name in ("law", "protocol", "domain")]).transform("max")
    return table[rank == best]


def last_stage_losses(
    observations: pd.DataFrame, cells: pd.DataFrame, held_out: float, law: Law, domain: str
) -> pd.Series:
    """The loss of every one of `cells` (n,) by the last stage before `held_out`, unchanged: what a
    law has to beat. For a forgetting law the change of that stage is added to the cell's own loss
    before adaptation. NaN where that stage has no such cell.
    """
    stages = list_stages(observations[is_sweep(observations) & is_before(observations, held_out)])
    if not stages:
        return pd.Series(float("nan"), index=cells.index)
    table = with_stages(observations)
    rows = cell_means(forgetting_rows(table, domain)) if law.offset else target_rows(table, domain)
    column = "forgetting" if law.offset else "loss"
    before = rows[is_stage(rows, stages[-1])].set_index(CELL)[column].rename("before")
    known = cells[CELL].join(before, on=CELL)["before"]
    return known + cells[law.offset] if law.offset else known
