"""Anchors: which cells of the held-out stage are measured and given to the fit.

Chosen from the design alone, before any loss is known, so that the choice cannot favour a law.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.table.kinds import is_stage, is_sweep


@dataclass(frozen=True, order=True)
class Cell:
    """A point of the adaptation grid: a model size, a replay ratio and an ATPP."""

    size: str
    replay: float
    atpp: float


def choose_anchors(
    grid: Mapping[str, Sequence],
    count: int,
    seed: int = 0,
    measured: Iterable[Cell] | None = None,
) -> list[Cell]:
    """`count` distinct cells, spread evenly over replay, log ATPP and size.

    A greedy Latin-type choice [ours]: the next cell is the one whose (replay, ATPP) pair was used
    least; among these, whose ATPP and replay were used least; then whose size, alone and together
    with them; then the one farthest from the chosen ones in (log ATPP, replay), each scaled to
    0..1. What is still tied is drawn by `seed`. So every level of ATPP and of replay is measured
    about equally often: a law's D and share terms are pinned at both ends, and no point is
    measured twice, which would only average noise. A smaller `count` gives a prefix of the list.

    `grid`: `sizes` (the small ones only, which one can afford), `replay` ratios and `atpp`.
    `measured`: the cells there are, for a finished table with holes; None means all. Raises
    InputError when there are fewer cells than `count`.
    """
    sizes, replays, atpps = (sorted(set(grid[axis])) for axis in ("sizes", "replay", "atpp"))
    total = len(sizes) * len(replays) * len(atpps)
    if not 0 <= count <= total:
        raise InputError(
            f"anchors: count is {count}; accepted are 0 to {total} (the {len(sizes)} sizes x "
            f"{len(replays)} replay ratios x {len(atpps)} ATPP there are)"
        )
    shape = len(sizes), len(replays), len(atpps)
    levels = np.indices(shape).reshape(3, -1).T  # (cells, 3): of size, replay and ATPP
    cells = [Cell(sizes[s], float(replays[r]), float(atpps[a])) for s, r, a in levels]
    scaled = _scale(np.log(atpps)), _scale(np.array(replays, float))
    places = np.stack([scaled[0][levels[:, 2]], scaled[1][levels[:, 1]]], axis=1)
    lots = np.random.default_rng(seed).permutation(total)
    if measured is not None:
        there = set(map(_key, measured))
        kept = np.array([_key(cell) in there for cell in cells], dtype=bool)
        cells = [cell for cell in cells if _key(cell) in there]
        levels, places, lots = levels[kept], places[kept], lots[kept]
        if count > len(cells):
            raise InputError(
                f"anchors: count is {count}, but only {len(cells)} of those cells were measured"
            )
    chosen: list[int] = []
    for _ in range(count):
        chosen.append(_next(levels, places, lots, chosen))
    return [cells[i] for i in chosen]


def grid_of(frame: pd.DataFrame, held_out: float) -> dict[str, list]:
    """The grid that anchors may come from in a finished table: every size but the largest.

    Keys `sizes`, `replay` and `atpp`: the distinct values of the sweep rows at the held-out stage.
    Raises InputError where only one size was measured, since nothing would be left to score.
    """
    rows = frame[is_stage(frame, held_out) & is_sweep(frame)]
    by_size = rows.groupby("size")["n_params"].first().sort_values()
    if len(by_size) < 2:
        raise InputError(
            f"anchors: {len(by_size)} sizes at the held-out stage {held_out:g}; needed are two"
        )
    return {
        "sizes": list(by_size.index[:-1]),
        "replay": sorted(rows["replay"].unique().tolist()),
        "atpp": sorted(rows["atpp"].unique().tolist()),
    }


def measured_cells(frame: pd.DataFrame, held_out: float) -> list[Cell]:
    """The cells of the held-out stage that a table has sweep rows of."""
    return list(dict.fromkeys(cells_in(frame[is_stage(frame, held_out) & is_sweep(frame)])))


def is_anchor(frame: pd.DataFrame, cells: Iterable[Cell], held_out: float) -> pd.Series:
    """Rows of anchored cells at the held-out stage: every domain and every seed of the cell."""
    keys = set(map(_key, cells))
    anchored = pd.Series([_key(cell) in keys for cell in cells_in(frame)], index=frame.index)
    return is_stage(frame, held_out) & anchored.astype(bool)


def select(frame: pd.DataFrame, cells: Iterable[Cell], held_out: float) -> pd.DataFrame:
    """The rows of `frame` that are anchors; raises InputError for a cell that was not measured."""
    cells = list(cells)
    rows = frame[is_anchor(frame, cells, held_out)]
    measured = set(map(_key, cells_in(rows)))
    for cell in cells:
        if _key(cell) not in measured:
            raise InputError(
                f"anchors: size {cell.size!r}, replay {cell.replay:g}, atpp {cell.atpp:g} has no "
                f"row at the held-out stage {held_out:g}"
            )
    return rows


def cells_in(frame: pd.DataFrame) -> list[Cell]:
    """The cell of every row."""
    return [Cell(*values) for values in frame[["size", "replay", "atpp"]].itertuples(index=False)]


def _key(cell: Cell) -> tuple[str, float, float]:
    """Floats to 9 digits: 1 - 0.95 and 0.05 are one replay ratio."""
    return cell.size, float(f"{cell.replay:.9g}"), float(f"{cell.atpp:.9g}")


def _scale(values: np.ndarray) -> np.ndarray:
    width = np.ptp(values)
    return (values - values.min()) / width if width > 0 else np.zeros_like(values)


def _next(levels: np.ndarray, places: np.ndarray, lots: np.ndarray, chosen: list[int]) -> int:
    taken, at = levels[chosen], places[chosen]

    def uses(*columns: int) -> np.ndarray:
        same = (levels[:, None, columns] == taken[None, :, columns]).all(axis=2)
        return same.sum(axis=1)

    size, replay, atpp = 0, 1, 2
    nearest = np.linalg.norm(places[:, None] - at[None], axis=2).min(axis=1, initial=np.inf)
    criteria = [
        uses(replay, atpp),
        uses(replay) + uses(atpp),
        uses(size),
        uses(size, atpp) + uses(size, replay),
        -nearest.round(9),
        lots,
    ]
    order = np.lexsort(criteria[::-1])
    return int(next(i for i in order if i not in chosen))
