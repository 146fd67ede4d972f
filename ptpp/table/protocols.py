"""Protocols: which rows a law may see, and on which it is scored.

`PROTOCOLS` forecast a later stage from earlier ones. Stages after the held-out one, if a table has
them, are in neither part. `CROSS_VALIDATIONS` leave parts of a table out in turn; every stage then
plays the held-out one, so to choose a law by them, give them the early rows alone. Every seed of a
cell is on the same side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ptpp.errors import InputError
from ptpp.table.anchors import Cell, is_anchor, select
from ptpp.table.kinds import is_before, is_stage, list_stages

PROTOCOLS = ("early_to_late", "with_anchors")
ALL_ROWS = "all_rows"  # of the fits that plans are made by: nothing is held out
CROSS_VALIDATIONS = ("leave_one_stage_out", "leave_largest_size_out")


@dataclass(frozen=True)
class Split:
    """`fit`: the rows a law is fitted on. `held_out`: the rows it is only scored on. `stage`: the
    PTPP that is forecast, None where there is none.
    """

    protocol: str
    fit: pd.DataFrame
    held_out: pd.DataFrame
    stage: float | None = None


def split(
    protocol: str, frame: pd.DataFrame, held_out: float, anchors: Sequence[Cell] = ()
) -> Split:
    """Split rows (observations, or cell means of them) by protocol name; see the functions below.

    `anchors` are used by "with_anchors" only. Raises InputError for an unknown name.
    """
    if protocol == "early_to_late":
        return early_to_late(frame, held_out)
    if protocol == "with_anchors":
        return with_anchors(frame, held_out, anchors)
    raise InputError(f"protocol: {protocol!r} is not known; accepted are {', '.join(PROTOCOLS)}")


def early_to_late(frame: pd.DataFrame, held_out: float) -> Split:
    """Fit the stages before `held_out`, score all of that stage."""
    late = is_stage(frame, held_out)
    return _split("early_to_late", frame, is_before(frame, held_out), late, held_out)


def with_anchors(frame: pd.DataFrame, held_out: float, anchors: Sequence[Cell]) -> Split:
    """Fit the stages before `held_out` and the anchored cells, score the rest of that stage.

    Raises InputError when no anchors are given, one was not measured, or nothing is left to score.
    """
    if not anchors:
        raise InputError("protocol with_anchors: no anchors are given; accepted is at least one")
    select(frame, anchors, held_out)
    late, anchored = is_stage(frame, held_out), is_anchor(frame, anchors, held_out)
    early = is_before(frame, held_out)
    return _split("with_anchors", frame, early | anchored, late & ~anchored, held_out)


def folds(protocol: str, frame: pd.DataFrame) -> dict[str, Split]:
    """The splits of a cross-validation by name, keyed by what is left out.

    leave_one_stage_out: each stage once scored by a fit of all others, earlier and later ones.
    leave_largest_size_out: the largest size scored, at every stage, by a fit of the smaller ones.
    Raises InputError for fewer than three stages, since two must be left to fit, or two sizes.
    """
    stages, sizes = list_stages(frame), frame["n_params"].unique()
    if protocol == "leave_one_stage_out":
        if len(stages) < 3:
            raise InputError(
                f"protocol {protocol}: {len(stages)} PTPP stages; accepted are 3 or more, since 2 "
                "must be left to fit"
            )
        parts = {f"PTPP {stage:g}": (is_stage(frame, stage), stage) for stage in stages}
    elif protocol == "leave_largest_size_out":
        if len(sizes) < 2:
            raise InputError(f"protocol {protocol}: {len(sizes)} sizes; accepted are 2 or more")
        parts = {f"N {sizes.max():g}": (frame["n_params"] == sizes.max(), stages[-1])}
    else:
        accepted = ", ".join(CROSS_VALIDATIONS)
        raise InputError(f"cross-validation: {protocol!r} is not known; accepted are {accepted}")
    return {k: _split(protocol, frame, ~out, out, stage) for k, (out, stage) in parts.items()}


def _split(
    protocol: str, frame: pd.DataFrame, fit: pd.Series, score: pd.Series, held_out: float
) -> Split:
    for rows, what in ((fit, "to fit"), (score, "to score")):
        if not rows.any():
            raise InputError(
                f"protocol {protocol}: no rows {what} with held-out stage {held_out:g}; stages: "
                + ", ".join(f"{p:g}" for p in list_stages(frame))
            )
    parts = (frame[rows].reset_index(drop=True) for rows in (fit, score))
    return Split(protocol, *parts, held_out)
