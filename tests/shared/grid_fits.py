"""A noisy table of the simulated experiment, and its fits, made once and when first asked for."""

from functools import cache

from laws_grid import GRID, HELD_OUT, observations

from ptpp.laws import early_to_late, fit, with_anchors
from ptpp.table.anchors import choose_anchors
from ptpp.table.kinds import target_rows

TABLE = observations(noise=0.01)
ROWS = target_rows(TABLE, "fr")
EARLY = early_to_late(ROWS, HELD_OUT)
ANCHORED = with_anchors(ROWS, HELD_OUT, choose_anchors(GRID, 20))


@cache
def early_fit():
    """The law with gate and floor, whose curvature the early stages cannot tell."""
    return fit("gated_floor", EARLY.fit)


@cache
def anchored_fit():
    """The same law, with anchors that tell it."""
    return fit("gated_floor", ANCHORED.fit, asked=HELD_OUT)
