"""Which rows of an observation table a law is fitted to."""

import pandas as pd

from ptpp.errors import InputError
from ptpp.laws.base_loss import with_base_loss
from ptpp.laws.declared import find_law
from ptpp.laws.law import ROWS, Law
from ptpp.table.kinds import CELL, forgetting_rows, target_rows, zero_shot_rows


def law_rows(
    observations: pd.DataFrame, law: Law | str, domain: str, zero_shot: bool = False
) -> pd.DataFrame:
    """The rows of `domain` that `law` (as for `fit`) is fitted to and scored on.

    Sweep cells for a target law; sweep and control rows for a forgetting law, seeds apart, of the
    replay ratios that it speaks of (`Law.rows`). A table read for a
    law that needs no cells is taken as it stands. A law that reads `base_loss` gets it from the
    zero-shot rows of the other domains. `zero_shot`: add the domain's rows before adaptation, for a
    law with `Law.zero_shot`. Raises InputError where rows are missing, or the law does not speak of
    them.
    """
    law = find_law(law)
    if not set(CELL) <= set(observations.columns):
        rows = observations
        if "domain" in observations:
            rows = rows[rows["domain"] == domain].reset_index(drop=True)
        if rows.empty:
            raise InputError(f"no rows of the domain {domain!r}")
        return rows
    rows = (forgetting_rows if law.offset else target_rows)(observations, domain)
    rows = rows[ROWS[law.rows](rows["replay"])].reset_index(drop=True)
    if rows.empty:
        raise InputError(f"law {law.name}: no rows of the domain {domain!r} {law.rows}")
    if zero_shot:
        if not law.zero_shot:
            raise InputError(f"law {law.name}: it does not describe zero-shot rows (atpp = 0)")
        rows = pd.concat([rows, zero_shot_rows(observations, [domain])], ignore_index=True)
    if "base_loss" in law.inputs and "base_loss" not in rows:
        rows = with_base_loss(rows, observations, domain)
    return rows
