"""From a finished table of losses to the overlay of a scale that reports on it."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from ptpp.errors import InputError
from ptpp.jobs.files import write_text
from ptpp.laws.from_table import name_of
from ptpp.table.anchors import grid_of, measured_cells
from ptpp.table.kinds import cell_means, forgetting_rows, is_stage, is_sweep, list_stages

_MOST_ANCHORS = 20
_MOST_ANCHORED = 0.25  # of the cells that anchors may come from, so that most are left to score
_LEAST_LIMIT = 0.01  # nats
_NO_BASE = "base"  # stands in the mix where a table has no base domain


def make_overlay(table: pd.DataFrame, target: str, name: str, defaults: Mapping) -> dict:
    """The keys in which a scale called `name` differs from `defaults` (config.yaml), from a table.

    The last stage of the target domain is held out. Base domains are the others that forgetting can
    be measured on. Anchors are a quarter of the cells they may come from, 20 at most. The plan is
    for the largest measured model at the held-out stage, within the measured range, and may give up
    as much of each base domain as half of the measured cells of that stage do.

    Raises InputError where the target has fewer than two stages.
    """
    sweep = table[is_sweep(table) & (table["domain"] == target)]
    stages = list_stages(sweep)
    if len(stages) < 2:
        names = ", ".join(f"{stage:g}" for stage in stages) or "none"
        raise InputError(
            f"{name_of(table)}: {len(stages)} PTPP stages of {target!r} with sweep rows ({names}); "
            "needed are two, of which the last is forecast"
        )
    held_out = stages[-1]
    limits, anchors = _forgetting_limits(table, target, held_out), _count_anchors(sweep, held_out)
    # One early stage says nothing of the effect of pre-training without anchors.
    protocols = (["early_to_late"] if len(stages) > 2 else []) + (["with_anchors"] * (anchors > 0))
    if not protocols:
        raise InputError(
            f"{name_of(table)}: two PTPP stages of {target!r} and one model size at the last, so "
            "that there are no anchors; needed are three stages or two sizes"
        )
    mix = {domain: 1 / len(limits) for domain in limits} or {_NO_BASE: 1.0}
    return {
        "scale": name,
        "corpora": {"target": target, "base": _replace(defaults["corpora"]["base"], mix)},
        "held_out": {"ptpp": held_out, **({"anchors": {"count": anchors}} if anchors else {})},
        "laws": {"protocols": protocols},
        "plan": {
            "beyond": [],
            "ptpp": held_out,
            "forgetting": _replace(defaults["plan"]["forgetting"], limits),
            "min_atpp": float(sweep["atpp"].min()),
            "max_atpp": float(sweep["atpp"].max()),
            "max_replay": float(sweep["replay"].max()),
        },
    }


def name_scale(path: str | os.PathLike) -> str:
    """A name for the scale of a table: its file's, as far as the workflow takes it."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", Path(path).stem).strip("-") or "report"


def write_overlay(overlay: Mapping, path: Path, command: str) -> None:
    """Write an overlay; raises InputError where another one stands at `path`."""
    text = f"# Written by: {command}\n"
    text += yaml.safe_dump(dict(overlay), sort_keys=False, allow_unicode=True)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise InputError(
            f"{path}: there is another overlay of that name, which stays; accepted is another "
            "--name, or the same command after removing the file"
        )
    write_text(path, text)


def _forgetting_limits(table: pd.DataFrame, target: str, held_out: float) -> dict[str, float]:
    """Base domain -> a limit on forgetting [nats]: the median of what was measured at the stage.

    Domains without rows before adaptation, or without adapted rows at the stage, are left out.
    """
    limits = {}
    for domain in sorted(set(table["domain"]) - {target}):
        try:
            measured = cell_means(forgetting_rows(table, domain))
        except InputError:
            continue
        late = measured[is_stage(measured, held_out) & is_sweep(measured)]
        if len(late):
            limits[domain] = max(round(float(late["forgetting"].median()), 2), _LEAST_LIMIT)
    return limits


def _count_anchors(sweep: pd.DataFrame, held_out: float) -> int:
    """How many cells of the held-out stage to let the fits see; 0 where only one size is there."""
    try:
        sizes = grid_of(sweep, held_out)["sizes"]
    except InputError:
        return 0
    cells = sum(cell.size in sizes for cell in measured_cells(sweep, held_out))
    return min(_MOST_ANCHORS, int(np.ceil(_MOST_ANCHORED * cells)))


def _replace(default: Mapping, ours: Mapping) -> dict:
    """An overlay of a mapping that leaves `ours` alone: null takes an entry out."""
    return {**{name: None for name in default if name not in ours}, **ours}
