"""The observation table: one row = one loss of one model on one domain.

The contract is `COLUMNS`. A table of a user's own needs only `n_params`, `ptpp`, `replay`, `loss`
and one of `atpp` and `adapt_tokens`; the rest is filled. A table for one law needs less: whoever
reads it names the columns the law needs. Losses are nats per token, `ptpp` and
`atpp` are tokens per parameter, `adapt_tokens` are tokens, `replay` is a share in 0..1.

Three kinds of row are told apart, because they answer different questions:
zero-shot rows (`atpp` = 0: the checkpoint before adaptation), control rows (`replay` = 1: the
schedule is re-warmed, but no target text is read) and sweep rows (everything else).
"""

import csv
import difflib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.jobs.files import write_text
from ptpp.table.where import renamed, selected

COLUMNS = (
    "run",
    "size",
    "n_params",
    "n_params_non_embedding",
    "ptpp",
    "replay",
    "atpp",
    "adapt_tokens",
    "domain",
    "loss",
    "bits_per_byte",
    "seed",
    "flops",
)
# Columns of a user's own that laws may read; where absent, they follow from zero-shot rows.
EXTRA = ("base_loss", "zero_shot_loss")
CELL = ("size", "n_params", "ptpp", "replay", "atpp", "domain")
CHECKPOINT = ("size", "ptpp", "seed", "domain")

# A run ends on a whole optimiser step, so the tokens read may differ a little from atpp * n_params.
STEP_TOLERANCE = 0.05

_REQUIRED = ("n_params", "ptpp", "replay", "loss")
_TEXT = ("run", "size", "domain")
_POSITIVE = ("n_params", "n_params_non_embedding", "ptpp", "loss", "bits_per_byte", *EXTRA)
_SORTED_BY = ["n_params", "size", "ptpp", "seed", "replay", "atpp", "domain", "run"]


def read_observations(
    path: str | os.PathLike,
    held_out: float | None = None,
    target: str | None = None,
    rename: Mapping[str, str] | None = None,
    where: str | None = None,
    needs: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Read and validate an observation table; returns `COLUMNS`, in the order of the file.

    `held_out`: a PTPP stage that must have sweep rows of the target domain.
    `target`: the domain that must be present, and the domain of a table without that column
    (where it is not given either, the domain is called "target").
    `rename`: the file's column names -> ours. `where`: an expression over the (renamed) columns
    that chooses rows, such as "ptpp < 100"; the others are not even checked.
    `needs`: the columns one law needs beside the loss (`Law.columns`). Then only these have to be
    there, and the result has no columns that the file neither holds nor implies.

    Raises InputError, one line naming file, line of the file (the header is line 1) and column.
    """
    table, lines = _read_text(Path(path))
    if rename:
        table = renamed(table, rename, str(path))
    if where is not None and len(table):
        chosen = selected(table, where, str(path), lines)
        if not chosen.any():
            raise InputError(f"{path}: where: {where!r} holds in none of {len(table)} rows")
        table = table[chosen].reset_index(drop=True)
        lines = [line for line, is_chosen in zip(lines, chosen, strict=True) if is_chosen]
    return check_observations(table, str(path), lines, held_out, target, needs)


def gather_observations(
    paths: Iterable[str | os.PathLike], held_out: float | None = None, target: str | None = None
) -> pd.DataFrame:
    """Read one table or several as one; several are checked each alone, then all together.

    Raises InputError as `read_observations` does.
    """
    paths = list(paths)
    if len(paths) == 1:
        return read_observations(paths[0], held_out, target)
    together = pd.concat([read_observations(p, target=target) for p in paths], ignore_index=True)
    return check_observations(together, f"{len(paths)} tables together", None, held_out, target)


def list_domains(
    path: str | os.PathLike,
    rename: Mapping[str, str] | None = None,
    where: str | None = None,
) -> list[str]:
    """The domains of a table, sorted, without checking its losses; [] without such a column.

    `rename` and `where` as for `read_observations`. Raises InputError where the file is no table.
    """
    table, lines = _read_text(Path(path))
    if rename:
        table = renamed(table, rename, str(path))
    if where is not None and len(table):
        table = table[selected(table, where, str(path), lines)]
    return sorted(set(table["domain"]) - {""}) if "domain" in table else []


def check_observations(
    frame: pd.DataFrame,
    source: str = "observations",
    lines: Sequence[int] | None = None,
    held_out: float | None = None,
    target: str | None = None,
    needs: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Validate and complete a table that is already in memory; see `read_observations`.

    `lines` are the numbers by which errors call the rows (default: 1, 2, ...).
    """
    rows = _Rows(source, list(lines) if lines is not None else list(range(1, len(frame) + 1)))
    kept = _checked_columns(frame, source, needs)
    if frame.empty:
        raise InputError(f"{source}: no rows; at least one observation is needed")
    table = pd.DataFrame(index=range(len(frame)))
    for column in kept:
        if column in _TEXT:
            table[column] = _texts(frame, column)
        else:
            table[column] = _numbers(frame, column, rows)
    _check_values(table, rows, {*_REQUIRED, *(needs or ())})
    if {"n_params", "atpp", "adapt_tokens"} <= set(kept):
        _fill_tokens(table, rows)
    else:
        for column in {"atpp", "adapt_tokens"} & set(kept):
            gaps, values = table[column].isna(), table[column]
            rows.check(gaps, values, "{value}; accepted is a number not below 0")
    table["seed"] = table["seed"].fillna(0).astype(np.int64)
    table["domain"] = table["domain"].replace("", target or "target")
    if "n_params" in kept:
        from_n_params = table["n_params"].map(_number_text)
        table["size"] = table["size"].where(table["size"] != "", from_n_params)
        _check_sizes(table, rows)
    if set(CELL) <= set(kept):
        # No token was replayed before adaptation: the value means nothing.
        table.loc[is_zero_shot(table), "replay"] = 0.0
        if "run" in kept:
            table["run"] = table["run"].where(table["run"] != "", _run_names(table))
        table = _without_repeats(table, rows)
    else:
        _check_copies(frame, rows)
    _check_presence(table, source, held_out, target)
    return table[list(kept)].reset_index(drop=True)


def write_observations(frame: pd.DataFrame, path: str | os.PathLike) -> None:
    """Write a table so that reading it back gives every number bit for bit.

    Rows are sorted by size, stage, seed, replay, ATPP and domain, so equal tables are equal files.
    Raises InputError as `check_observations` does, so that no unusable row is ever written.
    """
    table = check_observations(frame, str(path)).sort_values(_SORTED_BY, kind="stable")
    texts = {c: table[c] if c in _TEXT else table[c].map(_number_text) for c in COLUMNS}
    write_text(path, pd.DataFrame(texts).to_csv(index=False, lineterminator="\n"))


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


def seed_noise(frame: pd.DataFrame) -> float:
    """Relative seed noise of one run, over the cells measured with two seeds or more.

    sum |y - cell mean| sqrt(n / (n - 1)) / sum y: a mean absolute relative error, so it stands
    beside MAErel; the root undoes the shrinkage of deviations from a mean of n. NaN without
    repeated cells.
    """
    cells = frame.groupby(list(CELL))["loss"]
    n = cells.transform("size").to_numpy()
    deviation = (frame["loss"] - cells.transform("mean")).abs().to_numpy()
    repeated = n >= 2
    if not repeated.any():
        return float("nan")
    n = n[repeated]
    noise = deviation[repeated] * np.sqrt(n / (n - 1))
    return float(noise.sum() / frame["loss"].to_numpy()[repeated].sum())


def seed_noise_by_cell(frame: pd.DataFrame) -> pd.DataFrame:
    """Seed noise of every cell measured with two seeds or more, zero-shot rows included.

    Columns: those of `CELL`, `seeds` (how many), `mean_loss` (nats), `sd` (sample standard
    deviation over seeds, nats) and `relative_sd` (sd / mean_loss). No row without repeated cells.
    """
    grouped = frame.groupby(list(CELL), sort=False)["loss"]
    cells = grouped.agg(seeds="count", mean_loss="mean", sd="std").reset_index()
    cells = cells[cells["seeds"] >= 2]
    cells = cells.assign(relative_sd=cells["sd"] / cells["mean_loss"])
    return cells.sort_values(["domain", *CELL[1:-1]]).reset_index(drop=True)


def target_rows(frame: pd.DataFrame, target: str) -> pd.DataFrame:
    """Cell means of the target domain's sweep rows: what target laws are fitted and scored on.

    Raises InputError if there are none.
    """
    rows = frame[(frame["domain"] == target) & is_sweep(frame)]
    if rows.empty:
        raise InputError(f"no sweep rows (atpp > 0, replay < 1) of the target domain {target!r}")
    return cell_means(rows)


def zero_shot_rows(frame: pd.DataFrame, domains: Sequence[str]) -> pd.DataFrame:
    """Cell means of the given domains' checkpoints before adaptation.

    Raises InputError when one of the domains has none.
    """
    rows = frame[frame["domain"].isin(list(domains)) & is_zero_shot(frame)]
    missing = [d for d in domains if d not in set(rows["domain"])]
    if missing or not len(domains):
        raise InputError(f"no zero-shot rows (atpp = 0) of the domain {(missing or ['any'])[0]!r}")
    return cell_means(rows)


def forgetting_rows(frame: pd.DataFrame, domain: str) -> pd.DataFrame:
    """Cell means of a base domain's sweep and control rows: what forgetting laws are fitted on.

    Adds `zero_shot_loss`, the loss of the same checkpoint (size, PTPP, seed) before adaptation, if
    the table has no such column, and `forgetting` = loss - zero_shot_loss, nats per token. Raises
    InputError when there are no such rows or a checkpoint was not measured before adaptation.
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
    return cell_means(adapted.assign(forgetting=adapted["loss"] - adapted["zero_shot_loss"]))


class _Rows:
    """How errors call a row: by file and line."""

    def __init__(self, source: str, lines: list[int]):
        self.source = source
        self.lines = lines

    def error(self, position: int, column: str, message: str) -> InputError:
        return InputError(f"{self.source}: row {self.lines[position]}, column {column}: {message}")

    def check(self, bad: pd.Series | np.ndarray, values: pd.Series, message: str) -> None:
        """Raise for the first row where `bad` holds; `message` may hold {value}."""
        positions = np.flatnonzero(np.asarray(bad))
        if len(positions):
            value = values.iloc[positions[0]]
            text = _number_text(value) or "an empty field"
            raise self.error(positions[0], str(values.name), message.format(value=text))


def _read_text(path: Path) -> tuple[pd.DataFrame, list[int]]:
    """All fields as text, and the line of the file on which each row starts."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    reader = csv.reader(text.splitlines(keepends=True))
    header: list[str] = []
    records: list[list[str]] = []
    lines: list[int] = []
    start = 1
    try:
        for fields in reader:
            line, start = start, reader.line_num + 1
            fields = [field.strip() for field in fields]
            if not any(fields):
                continue
            if not header:
                header = fields
                _check_header(header, path)
                continue
            if len(fields) != len(header):
                raise InputError(
                    f"{path}: row {line}: {len(fields)} fields where the header has {len(header)}"
                    + (
                        " (a decimal comma? write 3.5, not 3,5)"
                        if len(fields) > len(header)
                        else ""
                    )
                )
            records.append(fields)
            lines.append(line)
    except csv.Error as error:
        raise InputError(f"{path}: row {reader.line_num}: not valid CSV ({error})") from None
    if not header:
        raise InputError(f"{path}: the file is empty; a header line and rows are needed")
    return pd.DataFrame(records, columns=header), lines


def _check_header(header: list[str], path: Path) -> None:
    for name in header:
        if header.count(name) > 1:
            raise InputError(f"{path}: row 1: column {name!r} stands there more than once")
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and separator in header[0]:
            raise InputError(
                f"{path}: row 1: fields are separated by {name}; accepted are commas, with a point "
                "as the decimal mark"
            )


def _checked_columns(
    frame: pd.DataFrame, source: str, needs: Sequence[str] | None
) -> tuple[str, ...]:
    """The columns of the result; raises where a needed one is missing or a name looks like a slip.

    Further columns are the user's business, unless one looks like a slip for one of ours.
    """
    given = [str(c) for c in frame.columns]
    unknown = [c for c in given if c not in COLUMNS + EXTRA]
    tokens = ("atpp", "adapt_tokens")
    required = _REQUIRED if needs is None else tuple(dict.fromkeys((*needs, "loss")))
    for column in required:
        if column not in given and column not in (*tokens, *EXTRA):
            raise InputError(f"{source}: no column {column!r}" + _did_you_mean(column, unknown))
    for column in tokens if needs is None else [c for c in tokens if c in needs]:
        other = tokens[1 - tokens.index(column)]
        if column not in given and (other not in given or "n_params" not in given):
            near = _did_you_mean(column, unknown) or _did_you_mean(other, unknown)
            raise InputError(f"{source}: neither column 'atpp' nor 'adapt_tokens'" + near)
    kept = COLUMNS
    if needs is not None:
        implied = {"size", "domain", "seed", *required}
        if "n_params" in given and any(c in given for c in tokens):
            implied |= set(tokens)
        kept = tuple(c for c in COLUMNS if c in given or c in implied)
    absent = [c for c in kept if c not in given and (needs is None or c not in tokens)]
    for column in unknown:
        near = difflib.get_close_matches(column.lower(), absent, n=1, cutoff=0.8)
        if near:
            raise InputError(f"{source}: unknown column {column!r}; did you mean {near[0]!r}?")
    return kept + tuple(c for c in EXTRA if c in given)


def _did_you_mean(column: str, unknown: list[str]) -> str:
    by_lower = {name.lower(): name for name in unknown}
    near = difflib.get_close_matches(column, by_lower, n=1, cutoff=0.6)
    return f"; is {by_lower[near[0]]!r} meant for it?" if near else ""


def _texts(frame: pd.DataFrame, column: str) -> pd.Series:
    if column not in frame:
        return pd.Series([""] * len(frame), dtype=object)
    values = ["" if pd.isna(v) else _text(v) for v in frame[column]]
    return pd.Series(values, dtype=object)


def _text(value: object) -> str:
    return _number_text(value) if isinstance(value, int | float | np.number) else str(value)


def _numbers(frame: pd.DataFrame, column: str, rows: _Rows) -> pd.Series:
    """A column as float64; an absent column and an empty field are NaN."""
    if column not in frame:
        return pd.Series(np.full(len(frame), np.nan), name=column)
    numbers = np.empty(len(frame))
    for position, value in enumerate(frame[column]):
        if value is None or value is pd.NA or value == "":
            numbers[position] = np.nan
            continue
        try:
            numbers[position] = float(value)
        except (TypeError, ValueError):
            raise rows.error(position, column, _not_a_number(str(value))) from None
        if isinstance(value, str) and not np.isfinite(numbers[position]):
            raise rows.error(position, column, f"{value!r}; accepted is a finite number")
    return pd.Series(numbers, name=column)


def _not_a_number(text: str) -> str:
    if text.endswith("%"):
        return f"{text!r} is a percentage; accepted is a share between 0 and 1"
    if "," in text and "." not in text:
        return f"{text!r} has a decimal comma; accepted is a decimal point"
    return f"{text!r} is not a number"


def _fill_tokens(table: pd.DataFrame, rows: _Rows) -> None:
    """Complete `atpp` and `adapt_tokens` from each other; raises where they contradict."""
    atpp, tokens, n_params = table["atpp"], table["adapt_tokens"], table["n_params"]
    rows.check(
        atpp.isna() & tokens.isna(),
        atpp,
        "{value}, and none in adapt_tokens; one of them is needed",
    )
    expected = atpp * n_params
    apart = (tokens - expected).abs() > STEP_TOLERANCE * expected.abs()
    rows.check(
        apart & tokens.notna() & atpp.notna(),
        tokens,
        "{value} contradicts atpp * n_params by more than " + f"{STEP_TOLERANCE:.0%}",
    )
    table["adapt_tokens"] = tokens.fillna(expected)
    # To three digits: runs end on whole steps, so that one ATPP differs a little from size to size.
    derived = (tokens / n_params).map(lambda value: float(f"{value:.3g}"))
    table["atpp"] = atpp.fillna(derived)
    beyond = ~np.isfinite(table["adapt_tokens"]) | ~np.isfinite(table["atpp"])
    rows.check(beyond, n_params, "{value}; the tokens that follow from it are not a finite number")


def _check_values(table: pd.DataFrame, rows: _Rows, required: Collection[str]) -> None:
    """Signs, ranges and gaps; `atpp` and `adapt_tokens` may still have gaps."""
    share = "accepted is a share between 0 and 1"
    for column in table:
        if column in _TEXT:
            continue
        values = table[column]
        rows.check(np.isinf(values), values, "{value}; accepted is a finite number")
        if column in required and column not in ("atpp", "adapt_tokens", "replay"):
            rows.check(values.isna(), values, "{value}; accepted is a number above 0")
        if column in _POSITIVE:
            rows.check(values <= 0, values, "{value}; accepted is a number above 0")
        elif column not in ("replay", "seed"):
            rows.check(values < 0, values, "{value}; accepted is a number not below 0")
    if "replay" in table:
        replay = table["replay"]
        adapted = np.ones(len(table), dtype=bool)
        for column in ("atpp", "adapt_tokens"):
            if column in table:
                adapted &= (table[column] != 0).to_numpy()
        if "replay" in required:
            rows.check(replay.isna() & adapted, replay, "{value}; " + share)
        percent = (replay > 1) & (replay <= 100)
        rows.check(percent, replay, "{value} looks like a percentage; " + share)
        rows.check((replay < 0) | (replay > 1), replay, "{value}; " + share)
    seed = table["seed"]
    rows.check(
        seed.notna() & ((seed != seed.round()) | (seed.abs() > 2**53)),
        seed,
        "{value}; accepted is an integer",
    )


def _check_sizes(table: pd.DataFrame, rows: _Rows) -> None:
    first = table.groupby("size")["n_params"].transform("first")
    positions = np.flatnonzero(table["n_params"] != first)
    if len(positions):
        row = table.iloc[positions[0]]
        raise rows.error(
            positions[0],
            "n_params",
            f"{_number_text(row['n_params'])}, but size {row['size']!r} has "
            f"{_number_text(first.iloc[positions[0]])} in an earlier row",
        )


def _run_names(table: pd.DataFrame) -> pd.Series:
    names = [
        f"{size}-p{ptpp:g}-" + ("zero" if atpp == 0 else f"r{replay:g}") + f"-s{seed}"
        for size, ptpp, atpp, replay, seed in zip(
            table["size"], table["ptpp"], table["atpp"], table["replay"], table["seed"], strict=True
        )
    ]
    return pd.Series(names, index=table.index, dtype=object)


def _without_repeats(table: pd.DataFrame, rows: _Rows) -> pd.DataFrame:
    """Refuse two measurements of one cell and seed.

    Curves often begin with their checkpoint, which then stands in the table once per replay ratio:
    zero-shot rows that repeat the same loss are one measurement and are kept once.
    """
    key = [*CELL, "seed"]
    table = table[~(table.duplicated([*key, "loss"]) & is_zero_shot(table))]
    repeated = table.duplicated(key)
    if repeated.any():
        position = int(table.index[repeated][0])
        same = (table[key] == table.loc[position, key]).all(axis=1)
        first = int(table.index[same][0])
        raise rows.error(
            position,
            "loss",
            f"a second measurement of the cell and seed of row {rows.lines[first]}; accepted is "
            "one row per size, ptpp, replay, atpp, domain and seed",
        )
    return table


def _check_copies(frame: pd.DataFrame, rows: _Rows) -> None:
    """Refuse rows that are equal in every column of the file, known or not."""
    texts = frame.astype(str)
    copied = texts.duplicated().to_numpy()
    if copied.any():
        position = int(np.argmax(copied))
        same = (texts == texts.iloc[position]).all(axis=1).to_numpy()
        raise rows.error(
            position,
            "loss",
            f"a copy of row {rows.lines[int(np.argmax(same))]} in every column; remove one of them",
        )


def _check_presence(
    table: pd.DataFrame, source: str, held_out: float | None, target: str | None
) -> None:
    domains = sorted(table["domain"].unique())
    if target is not None and target not in domains:
        raise InputError(
            f"{source}: column domain: no row of the target domain {target!r}; found "
            + ", ".join(map(repr, domains))
        )
    if held_out is not None:
        for column in ("ptpp", "atpp", "replay"):
            if column not in table:
                raise InputError(f"{source}: no column {column!r}; a held-out stage needs it")
        rows = table[is_sweep(table)]
        if target is not None:
            rows = rows[rows["domain"] == target]
        if not is_stage(rows, held_out).any():
            stages = ", ".join(f"{p:g}" for p in sorted(rows["ptpp"].unique())) or "none"
            raise InputError(
                f"{source}: column ptpp: the held-out stage {held_out:g} has no sweep rows "
                f"(atpp > 0, replay < 1); stages found: {stages}"
            )


def _number_text(value: object) -> str:
    """The shortest text that reads back to the same float; whole numbers without a point."""
    number = float(value)  # type: ignore[arg-type]
    if np.isnan(number):
        return ""
    if number.is_integer() and abs(number) < 2**53:
        return str(int(number))
    return repr(number)
