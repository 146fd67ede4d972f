"""Which rows of an observation table a law is fitted to."""

from collections.abc import Sequence

import pandas as pd

from ptpp.errors import InputError
from ptpp.laws.base_loss import with_base_loss
from ptpp.laws.declared import find_law
from ptpp.laws.law import ROWS, Law
from ptpp.table.anchors import Cell
from ptpp.table.kinds import (
    CELL,
    cell_means,
    forgetting_rows,
    is_sweep,
    sort_runs,
    target_rows,
    zero_shot_rows,
)


def law_rows(
    observations: pd.DataFrame, law: Law | str, domain: str, zero_shot: bool = False
) -> pd.DataFrame:
    """The rows of `domain` that `law` (as for `fit`) is fitted to.

    A law that reads the state of a checkpoint, `base_loss` for one, gets a row per run, since seeds
    differ in state; other laws get means over seeds, as `cells_of` makes them. They are sweep cells
    for a target law, sweep and control cells for a forgetting law, of the replay ratios that it
    speaks of (`Law.rows`); a table read for a law that needs no cells is taken as it stands.
    `base_loss` comes from the zero-shot rows of the other domains. `zero_shot`: add the domain's
    rows before adaptation, for a law with `Law.zero_shot`. Raises InputError where rows are
    missing, or the law does not speak of them.
    """
    law = find_law(law)
    if not set(CELL) <= set(observations.columns):
        rows = observations
        if "domain" in observations:
            rows = rows[rows["domain"] == domain].reset_index(drop=True)
        if rows.empty:
            raise InputError(f"no rows of the domain {domain!r}")
        return rows
    rows = _rows_of_kind(observations, law, domain)
    if zero_shot:
        if not law.zero_shot:
            raise InputError(f"law {law.name}: it does not describe zero-shot rows (atpp = 0)")
        rows = pd.concat([rows, zero_shot_rows(observations, [domain])], ignore_index=True)
    if "base_loss" in law.inputs and "base_loss" not in rows:
        rows = with_base_loss(rows, observations, domain)
    return rows


def _rows_of_kind(observations: pd.DataFrame, law: Law, domain: str) -> pd.DataFrame:
    if law.offset:
        rows = forgetting_rows(observations, domain)
        rows = rows[ROWS[law.rows](rows["replay"])].reset_index(drop=True)
        if rows.empty:
            kind = law.rows.replace("_", " ")
            raise InputError(f"law {law.name}: no adapted rows of the domain {domain!r} {kind}")
        return rows
    rows = target_rows(observations, domain)
    if "base_loss" not in law.inputs:
        return rows
    runs = observations[(observations["domain"] == domain) & is_sweep(observations)]
    return sort_runs(runs.assign(n_seeds=1))


def anchors_of(law: Law, anchors: Sequence[Cell]) -> list[Cell]:
    """Those of the anchors whose replay ratio a law speaks of."""
    return [cell for cell in anchors if ROWS[law.rows](cell.replay)]


def cells_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with seeds averaged, where they are runs; rows that are cells stay as they are."""
    return cell_means(rows) if "seed" in rows and set(CELL) <= set(rows.columns) else rows
