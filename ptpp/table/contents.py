"""What a table of losses can be used for."""

from dataclasses import dataclass

import pandas as pd

from ptpp.table.kinds import is_sweep, is_zero_shot


@dataclass(frozen=True)
class Contents:
    """The domains of a table, and whether laws that read base losses can be fitted to it."""

    domains: tuple[str, ...]
    has_base_losses: bool


def describe_contents(observations: pd.DataFrame, target: str) -> Contents:
    """The contents of a checked table.

    It has base losses where every checkpoint that was adapted to the target has zero-shot rows of
    every other domain that has such rows.
    """
    zero_shot = observations[is_zero_shot(observations) & (observations["domain"] != target)]
    adapted = observations[is_sweep(observations) & (observations["domain"] == target)]
    checkpoints = set(zip(adapted["size"], adapted["ptpp"], strict=True))
    complete = [
        checkpoints <= set(zip(rows["size"], rows["ptpp"], strict=True))
        for _, rows in zero_shot.groupby("domain")
    ]
    return Contents(
        domains=tuple(sorted(observations["domain"].unique())),
        has_base_losses=bool(complete) and all(complete),
    )
