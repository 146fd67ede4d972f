"""The kinds of row, and the rows that laws are fitted to: means over seeds of one kind."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ptpp.errors import InputError

CELL = ("size", "n_params", "ptpp", "replay", "atpp", "domain")
CHECKPOINT = ("size", "ptpp", "seed", "domain")


def is_zero_shot(frame: pd.DataFrame) -> pd.Series:
    """Rows of the checkpoint before any adaptation (`atpp` = 0)."""
    return frame["atpp"] == 0


def is_control(frame: pd.DataFrame) -> pd.Series:
    """Rows adapted on the base mix alone (`replay` = 1): re-warmed, but without target text."""
    return (frame["atpp"] > 0) & (frame["replay"] == 1)


def is_sweep(frame: pd.DataFrame) -> pd.Series:
    """Rows adapted on at least some target text."""
    return (frame["atpp"] > 0) & (frame["replay"] < 1)


def is_stage(frame: pd.DataFrame, ptpp: float) -> pd.Series:
    """Rows of one pre-training stage."""
    return pd.Series(np.isclose(frame["ptpp"], ptpp, rtol=1e-6, atol=0), index=frame.index)


def cell_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds per cell, that is per size, n_params, PTPP, replay, ATPP and domain.

    Adds `n_seeds` and `loss_sd` (sample standard deviation, NaN for one seed). A column
    `base_loss`, `zero_shot_loss` or `forgetting`, if there, is averaged too. Rows come sorted by
    cell.
    """
    cells = frame.groupby(list(CELL), sort=True)
    averaged = ["adapt_tokens", "loss", "base_loss", "zero_shot_loss", "forgetting"]
    means = cells[[c for c in averaged if c in frame]].mean()
    means["loss_sd"] = cells["loss"].std()
    means["n_seeds"] = cells.size()
    return means.reset_index()


def target_rows(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    """Cell means of the target domain's sweep rows: what target laws are fitted and scored on.

    Raises InputError if there are none.
    """
    rows = frame[(frame["domain"] == target) & is_sweep(frame)]
    if rows.empty:
        raise InputError(f"no sweep rows (atpp > 0, replay < 1) of the target domain {target!r}")
    return cell_means(rows)


def zero_shot_rows(frame: pd.DataFrame, domains: Sequence[str]) -> pd.DataFrame:
    """Cell means of these domains' checkpoints before adaptation.

    Raises InputError when one of the domains has none.
    """
    rows = frame[frame["domain"].isin(list(domains)) & is_zero_shot(frame)]
    missing = [d for d in domains if d not in set(rows["domain"])]
    if missing or not len(domains):
        raise InputError(f"no zero-shot rows (atpp = 0) of the domain {(missing or ['any'])[0]!r}")
    return cell_means(rows)


def forgetting_rows(frame: pd.DataFrame, domain: str) -> pd.DataFrame:
    """A base domain's sweep and control rows, seeds apart: what forgetting laws are fitted on.

    Seeds differ in the loss of their checkpoints, which these laws read. Adds `zero_shot_loss`, the
    loss of the same checkpoint (size, PTPP, seed) before adaptation, if the table has no such
    column, `forgetting` = loss - zero_shot_loss, nats per token, and `n_seeds` = 1; `cell_means`
    averages all of them. Raises InputError when there are no such rows or a checkpoint was not
    measured before adaptation.
    """
    rows = frame[frame["domain"] == domain]
    adapted = rows[~is_zero_shot(rows)]
    if adapted.empty:
        raise InputError(f"no adapted rows (atpp > 0) of the base domain {domain!r}")
    if "zero_shot_loss" not in adapted:
        before = rows[is_zero_shot(rows)].set_index(list(CHECKPOINT))["loss"]
        adapted = adapted.join(before.rename("zero_shot_loss"), on=list(CHECKPOINT))
    missing = adapted[adapted["zero_shot_loss"].isna()]
    if not missing.empty:
        row = missing.iloc[0]
        raise InputError(
            f"domain {domain!r}: no zero-shot row (atpp = 0) for size {row['size']!r}, "
            f"ptpp {row['ptpp']:g}, seed {row['seed']}; forgetting is measured against it"
        )
    change = adapted["loss"] - adapted["zero_shot_loss"]
    order = [*CELL, *(("seed",) if "seed" in adapted else ())]
    return adapted.assign(forgetting=change, n_seeds=1).sort_values(order, ignore_index=True)


def has_base_losses(frame: pd.DataFrame, target: str) -> bool:
    """Whether laws that read base losses can be fitted to a table.

    They can where every checkpoint that was adapted to the target has zero-shot rows of every other
    domain that has such rows.
    """
    before = frame[is_zero_shot(frame) & (frame["domain"] != target)]
    adapted = frame[is_sweep(frame) & (frame["domain"] == target)]
    checkpoints = set(zip(adapted["size"], adapted["ptpp"], strict=True))
    measured = [set(zip(d["size"], d["ptpp"], strict=True)) for _, d in before.groupby("domain")]
    return bool(measured) and all(checkpoints <= one for one in measured)
