"""The kinds of row, their stages, and the rows that laws are fitted to: means over seeds.

A stage is a group of measured PTPP: tokens over parameters differ a little between the sizes of one
nominal stage. Its label names it, in the column `stage` where a table has one; the number in `ptpp`
stays what a law reads.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ptpp.errors import InputError

CELL = ("size", "n_params", "ptpp", "replay", "atpp", "domain")
# The same with the stage in the place of its PTPP: what rows of one cell share (`with_stages`).
CELL_KEYS = ("size", "n_params", "stage", "replay", "atpp", "domain")
CHECKPOINT = ("size", "stage", "seed", "domain")
STAGE_WIDTH = 1.1  # a value above that many times the first of its stage begins the next one
_SAME = 1e-6  # relative: labels that close are one


def is_zero_shot(frame: pd.DataFrame) -> pd.Series:
    """Rows of the checkpoint before any adaptation (`atpp` = 0)."""
    return frame["atpp"] == 0


def is_control(frame: pd.DataFrame) -> pd.Series:
    """Rows adapted on the base mix alone (`replay` = 1): re-warmed, but without target text."""
    return (frame["atpp"] > 0) & (frame["replay"] == 1)


def is_sweep(frame: pd.DataFrame) -> pd.Series:
    """Rows adapted on at least some target text."""
    return (frame["atpp"] > 0) & (frame["replay"] < 1)


def stage_numbers(ptpp: ArrayLike) -> NDArray:
    """The label (n,) of the stage of every PTPP (n,); NaN stays NaN.

    Values are sorted, and a stage begins with the first that is more than 10 % above the first of
    the one before. The label is the value that all rows of a stage have, else their geometric mean
    to three digits.
    """
    ptpp = np.asarray(ptpp, dtype=float)
    values = np.unique(ptpp[~np.isnan(ptpp)])
    number, exact, means = np.empty(len(values), dtype=np.int64), [], []
    begin = 0
    while begin < len(values):
        end = max(np.searchsorted(values, STAGE_WIDTH * values[begin], side="right"), begin + 1)
        number[begin:end] = len(means)
        exact.append(end - begin == 1)
        with np.errstate(divide="ignore"):
            mean = float(np.exp(np.log(values[begin:end]).mean()))
        means.append(float(values[begin]) if exact[-1] else mean)
        begin = end
    rounded = [m if one else float(f"{m:.3g}") for m, one in zip(means, exact, strict=True)]
    labels = np.array(rounded if len(set(rounded)) == len(rounded) else means, dtype=float)
    result = np.full(ptpp.shape, np.nan)
    there = ~np.isnan(ptpp)
    result[there] = labels[number[np.searchsorted(values, ptpp[there])]]
    return result


def stages_of(frame: pd.DataFrame) -> pd.Series:
    """The label of every row's stage: the column `stage`, or else by `stage_numbers` of `ptpp`."""
    if "stage" in frame:
        return frame["stage"]
    return pd.Series(stage_numbers(frame["ptpp"]), index=frame.index, name="stage")


def with_stages(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` with the column `stage`."""
    return frame if "stage" in frame else frame.assign(stage=stages_of(frame))


def list_stages(frame: pd.DataFrame) -> list[float]:
    """The labels of the stages there are, ascending."""
    return sorted(stages_of(frame).unique().tolist())


def find_stage(frame: pd.DataFrame, ptpp: float) -> float:
    """The label of the stage that `ptpp` names: its label, or a PTPP within 10 % of one of its
    rows, of the nearest where there are several; NaN where there is none.
    """
    labels = stages_of(frame).to_numpy(float)
    if not len(labels):
        return float("nan")
    near = np.abs(labels / ptpp - 1)
    if near.min() <= _SAME:
        return float(labels[near.argmin()])
    with np.errstate(divide="ignore"):
        far = np.abs(np.log(frame["ptpp"].to_numpy(float) / ptpp))
    nearest = int(far.argmin())
    within = far[nearest] <= np.log(STAGE_WIDTH) * (1 + 1e-9)
    return float(labels[nearest]) if within else float("nan")


def is_stage(frame: pd.DataFrame, ptpp: float) -> pd.Series:
    """Rows of the stage that `ptpp` names, see `find_stage`."""
    return stages_of(frame) == find_stage(frame, ptpp)


def is_before(frame: pd.DataFrame, ptpp: float) -> pd.Series:
    """Rows of the stages before the one that `ptpp` names, or below `ptpp` where there is none."""
    stage = find_stage(frame, ptpp)
    return stages_of(frame) < stage if stage == stage else frame["ptpp"] < ptpp


def cell_means(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds per cell, that is per size, n_params, stage, replay, ATPP and domain.

    Adds `n_seeds` and `loss_sd` (sample standard deviation, NaN for one seed). A column `stage`
    stays. `base_loss`, `zero_shot_loss`, `forgetting` and the table's own columns of numbers, if
    there, are averaged too. Rows come sorted by cell.
    """
    cells = with_stages(frame).groupby(list(CELL_KEYS), sort=True)
    whole = {*CELL, *CELL_KEYS, "seed", "n_seeds", "loss_sd", "n_params_non_embedding"}
    whole |= {"bits_per_byte", "flops"}
    averaged = [
        name for name in frame if name not in whole and pd.api.types.is_numeric_dtype(frame[name])
    ]
    means = cells[averaged].mean()
    # A mean of equal numbers can be off by a rounding error, and would be another stage.
    one = cells["ptpp"].agg(["min", "max", "mean"])
    means.insert(0, "ptpp", one["mean"].where(one["min"] < one["max"], one["min"]))
    means["loss_sd"] = cells["loss"].std()
    means["n_seeds"] = cells.size()
    means = means.reset_index()
    stage = [name for name in ("stage",) if name in frame]
    return means[[*CELL, *stage, *averaged, "loss_sd", "n_seeds"]]


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
        keys = list(CHECKPOINT)
        staged = with_stages(rows)
        before = staged[is_zero_shot(rows)].groupby(keys)["loss"].mean().rename("zero_shot_loss")
        adapted = adapted.assign(
            zero_shot_loss=staged.loc[adapted.index, keys].join(before, on=keys)["zero_shot_loss"]
        )
    missing = adapted[adapted["zero_shot_loss"].isna()]
    if not missing.empty:
        row = missing.iloc[0]
        raise InputError(
            f"domain {domain!r}: no zero-shot row (atpp = 0) for size {row['size']!r}, "
            f"ptpp {row['ptpp']:g}, seed {row['seed']}; forgetting is measured against it"
        )
    change = adapted["loss"] - adapted["zero_shot_loss"]
    return sort_runs(adapted.assign(forgetting=change, n_seeds=1))


def sort_runs(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows in the order of their cells, as `cell_means` has them, and of seeds within a cell."""
    keys = [*CELL_KEYS, *(("seed",) if "seed" in frame else ())]
    return with_stages(frame).sort_values(keys, ignore_index=True)[list(frame.columns)]


def has_base_losses(frame: pd.DataFrame, target: str) -> bool:
    """Whether laws that read base losses can be fitted to a table.

    They can where every checkpoint that was adapted to the target has zero-shot rows of every other
    domain that has such rows.
    """
    frame = with_stages(frame)
    before = frame[is_zero_shot(frame) & (frame["domain"] != target)]
    adapted = frame[is_sweep(frame) & (frame["domain"] == target)]
    checkpoints = set(zip(adapted["size"], adapted["stage"], strict=True))
    measured = [set(zip(d["size"], d["stage"], strict=True)) for _, d in before.groupby("domain")]
    return bool(measured) and all(checkpoints <= one for one in measured)
