"""The observation table: one row = one loss of one model on one domain.

The contract is `COLUMNS`. A table from elsewhere needs only `n_params`, `ptpp`, `replay`, `loss`
and one of `atpp` and `adapt_tokens`; the rest is filled. A table for one law needs less: whoever
reads it names the columns the law needs. Losses are nats per token, `ptpp` and `atpp` are tokens
per parameter, `adapt_tokens` are tokens, `replay` is a share in 0..1. A column `stage` (a number)
is there where the PTPP of one stage differ; where a table brings it, it names the stages. Other
columns of numbers stay for laws that read them.

Three kinds of row answer different questions (`ptpp.table.kinds`): zero-shot rows (`atpp` = 0: the
checkpoint before adaptation), control rows (`replay` = 1: the schedule is re-warmed, but no target
text is read) and sweep rows (everything else).
"""

import os
from collections.abc import Iterable, Mapping, Sequence

import pandas as pd

from ptpp.errors import InputError
from ptpp.jobs.files import write_text
from ptpp.table.checks import check_observations
from ptpp.table.columns import COLUMNS, EXTRA, STAGE, TEXT, map_columns
from ptpp.table.kinds import stage_numbers
from ptpp.table.reading import Places, number_text, read_text
from ptpp.table.where import choose_rows

_SORTED_BY = ["n_params", "size", "ptpp", "seed", "replay", "atpp", "domain", "run"]


def read_observations(
    path: str | os.PathLike | pd.DataFrame,
    held_out: float | None = None,
    target: str | None = None,
    rename: Mapping[str, str] | None = None,
    where: str | None = None,
    needs: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read and validate an observation table; returns `COLUMNS` and the table's own columns of
    numbers, in the order of the file.

    `path`: a CSV file, or a table in memory.
    `held_out`: a PTPP stage that must have sweep rows of the target domain.
    `target`: the domain that must be present, and the domain of a table without that column
    (where there is none either, the domain is called "target").
    `rename`: the file's column names -> ours, with units and formulas, see
    `ptpp.table.columns.map_columns`.
    `where`: an expression over the file's or our columns that chooses rows, such as "ptpp < 100";
    the others are not even checked.
    `needs`: the columns one law needs beside the loss (`Law.columns`). Then only these have to be
    there, and the result has no columns that the file neither holds nor implies.

    Raises InputError, one line naming file, line of the file (the header is line 1) and column.
    `attrs["source"]` of the result is the name of the file, for later errors.
    """
    if isinstance(path, pd.DataFrame):
        theirs = path.reset_index(drop=True)
        places = Places(path.attrs.get("source", "the table"), range(1, len(path) + 1))
    else:
        theirs, places = read_text(path)
    table = map_columns(theirs, rename or {}, places)
    if where is not None and len(table):
        known = pd.concat([table, theirs.loc[:, ~theirs.columns.isin(table.columns)]], axis=1)
        chosen = choose_rows(known, where, places)
        if not chosen.any():
            raise InputError(
                f"{places.source}: where: {where!r} holds in none of {len(table)} rows"
            )
        table = table[chosen].reset_index(drop=True)
        lines = [line for line, is_chosen in zip(places.lines, chosen, strict=True) if is_chosen]
        places = Places(places.source, lines)
    table = check_observations(table, places, held_out, target, needs)
    table.attrs["source"] = places.source
    return table


def gather_observations(
    paths: Iterable[str | os.PathLike],
    held_out: float | None = None,
    target: str | None = None,
    **arguments: object,
) -> pd.DataFrame:
    """Read one table or several as one; several are checked each alone, then all together.

    `arguments` as for `read_observations`. Raises InputError as that does.
    """
    paths = list(paths)
    if len(paths) == 1:
        return read_observations(paths[0], held_out, target, **arguments)
    tables = [read_observations(path, None, target, **arguments) for path in paths]
    tables = [_without_derived_stages(table) for table in tables]
    together = pd.concat(tables, ignore_index=True)
    places = Places(f"{len(paths)} tables together", range(1, len(together) + 1))
    return check_observations(together, places, held_out, target)


def _without_derived_stages(table: pd.DataFrame) -> pd.DataFrame:
    """Stages that follow from the PTPP of one table may follow otherwise from several."""
    if STAGE in table and (table[STAGE] == stage_numbers(table["ptpp"])).all():
        return table.drop(columns=STAGE)
    return table


def write_observations(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table so that reading it back gives every number bit for bit.

    Rows are sorted by size, stage, seed, replay, ATPP and domain, so equal tables are equal files.
    Raises InputError as `check_observations` does, so that no unusable row is ever written.
    """
    table = check_observations(frame, Places(str(path), range(1, len(frame) + 1)))
    table = table.sort_values(_SORTED_BY, kind="stable")
    own = [c for c in table if c not in (*COLUMNS, *EXTRA)]
    texts = {c: table[c] if c in TEXT else table[c].map(number_text) for c in (*COLUMNS, *own)}
    write_text(path, pd.DataFrame(texts).to_csv(index=False, lineterminator="\n"))
