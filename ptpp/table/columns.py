"""The columns of an observation table, and how the columns of other tables become ours."""

import ast
import difflib
import logging
import shlex
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.table.expressions import parse, unknown_name
from ptpp.table.reading import Places
from ptpp.table.where import all_numbers, columns_in, compute_column, read_numbers

log = logging.getLogger("ptpp")

COLUMNS = (
    *("run", "size", "n_params", "n_params_non_embedding", "ptpp", "replay", "atpp"),
    *("adapt_tokens", "domain", "loss", "bits_per_byte", "seed", "flops"),
)
# Columns that laws may read besides; where a table lacks them, they follow from zero-shot rows.
EXTRA = ("base_loss", "zero_shot_loss")
STAGE = "stage"  # names the stage of a row where its PTPP does not, see `ptpp.table.kinds`
REQUIRED = ("n_params", "ptpp", "replay", "loss")
TOKENS = ("atpp", "adapt_tokens")
TEXT = ("run", "size", "domain")
_RESERVED = ("share", "forgetting", "loss_sd", "n_seeds")  # made from other columns later
# Names that other tables use. One is taken where ours is absent and no second one competes.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "n_params": ("params", "num_params", "n_parameters", "num_parameters", "parameters", "N"),
    "ptpp": ("tokens_per_param", "tokens_per_parameter"),
    "replay": ("replay_ratio", "replay_share", "replay_fraction"),
    "adapt_tokens": ("tokens", "n_tokens", "num_tokens", "cpt_tokens", "adaptation_tokens", "D"),
    "domain": ("language", "lang"),
    "loss": ("val_loss", "valid_loss", "validation_loss", "eval_loss", "test_loss"),
}


def map_columns(frame: pd.DataFrame, names: Mapping[str, str], places: Places) -> pd.DataFrame:
    """`frame` with our column names: as `names` says, then by `ALIASES`, which are logged.

    An entry whose key is a column of the table renames it, and may scale it: {"N": "n_params",
    "cpt_tokens_B": "adapt_tokens*1e9"}. Any other key is a new column, computed from those of the
    table, by their names or ours: {"replay": "1 - share", "ptpp": "tokens / n_params"}. Names with
    spaces stand in a formula as they are; other odd ones between backticks.

    Raises InputError, one line, where a name is unknown or a column would stand there twice.
    """
    theirs, option = [str(c) for c in frame.columns], f"{places.source}: rename"
    renames, formulas = {}, {}  # their name -> (ours, factor); the new column -> its formula
    for left, right in names.items():
        if left in theirs:
            renames[left] = _name_and_factor(right, option)
        elif right in theirs and left.isidentifier():
            renames[right] = left, 1.0
        elif right.isidentifier() or not left.isidentifier():
            raise InputError(f"{option}: column {unknown_name(left, theirs)}")
        else:
            formulas[left] = right
    named = [renames[c][0] if c in renames else c for c in theirs]
    # Tokens that give the PTPP are those of pre-training.
    taken = ()
    if formula := formulas.get("ptpp"):
        taken = columns_in(formula, theirs, f"{option}: ptpp = {formula}")
    aliases = _find_aliases([*named, *formulas], taken)
    ours = [aliases.get(name, name) for name in named]
    for name in [*(name for name, _ in renames.values()), *formulas]:
        count = [*ours, *formulas].count(name)
        if count > 1:
            raise InputError(
                f"{option}: there would be {count} columns {name!r}; rename the others away too"
            )
    table = frame.set_axis(ours, axis=1)
    for column, (name, factor) in renames.items():
        if factor != 1:
            table[name] = _round_to(factor * read_numbers(frame[column], places, "rename"), 15)
    # A formula may speak of the table's own names and of ours.
    known = pd.concat([frame, table.loc[:, ~table.columns.isin(theirs)]], axis=1)
    for name, formula in formulas.items():
        values = compute_column(known, formula, places, f"rename: {name} = {formula}")
        table[name] = known[name] = _round_to(values, 12)
    if aliases:
        pairs = ", ".join(f"{alias!r} as {name}" for alias, name in aliases.items())
        log.warning("%s: reads the column %s", places.source, pairs)
    return table


def check_columns(
    columns: Sequence[str], source: str, needs: Sequence[str] | None = None
) -> tuple[str, ...]:
    """The columns of a checked table that has these `columns`; `needs` as for `read_observations`.

    Raises InputError where a needed one is missing, or where a name looks like a slip for one of
    ours; other columns are the user's business.
    """
    present = [str(c) for c in columns]
    unknown = [c for c in present if c not in (*COLUMNS, *EXTRA, STAGE)]
    required = REQUIRED if needs is None else tuple(dict.fromkeys((*needs, "loss")))
    for column in required:
        if column not in present and column not in (*TOKENS, *EXTRA):
            guess = _guess(column, unknown) or _list(column, unknown)
            raise InputError(f"{source}: no column {column!r}" + guess)
    has_both = "n_params" in present and bool(set(TOKENS) & set(present))
    for column in TOKENS if needs is None else [c for c in TOKENS if c in needs]:
        if column not in present and not has_both:
            guess = _guess("adapt_tokens", unknown) or _guess("atpp", unknown)
            guess = guess or _list("adapt_tokens", unknown)
            raise InputError(f"{source}: neither column 'atpp' nor 'adapt_tokens'" + guess)
    kept = COLUMNS
    if needs is not None:
        implied = {"size", "domain", "seed", *required, *(TOKENS if has_both else ())}
        kept = tuple(c for c in COLUMNS if c in present or c in implied)
    absent = [c for c in kept if c not in present and (needs is None or c not in TOKENS)]
    for column in unknown:
        near = difflib.get_close_matches(column.lower(), absent, n=1, cutoff=0.8)
        if near:
            raise InputError(f"{source}: unknown column {column!r}; did you mean {near[0]!r}?")
    return kept + tuple(c for c in (*EXTRA, STAGE) if c in present)


def own_columns(frame: pd.DataFrame, needs: Sequence[str] | None) -> tuple[str, ...]:
    """The columns of the table's own that laws may read: those in `needs`, or else all that have a
    name an expression can hold and a finite number in every row.
    """
    ours = {*COLUMNS, *EXTRA, STAGE, *_RESERVED}
    names = [str(c) for c in frame.columns if str(c) not in ours]
    if needs is not None:
        return tuple(name for name in names if name in needs)
    return tuple(name for name in names if name.isidentifier() and all_numbers(frame[name]))


def _find_aliases(columns: Sequence[str], taken: Collection[str] = ()) -> dict[str, str]:
    """Their name -> ours, for our columns that are absent and have exactly one alias there; tokens
    that are `taken` are not those of the adaptation.
    """
    aliases = {}
    for ours, theirs in ALIASES.items():
        there = TOKENS if ours in TOKENS else (ours,)
        names = [name for name in theirs if ours not in TOKENS or name not in taken]
        candidates = [name for name in names if name in columns]
        if not set(there) & set(columns) and len(candidates) == 1:
            aliases[candidates[0]] = ours
    return aliases


def _guess(column: str, unknown: Sequence[str]) -> str:
    """Which of the unknown columns may be meant for ours."""
    aliases = [name for name in ALIASES.get(column, ()) if name in unknown]
    if len(aliases) > 1:
        texts = " or ".join(map(repr, aliases))
        return f"; is {texts} meant for it? say so by {_rename(aliases[0], column)}"
    by_lower = {name.lower(): name for name in unknown}
    near = difflib.get_close_matches(column, by_lower, n=1, cutoff=0.6)
    if not near:
        return ""
    theirs = by_lower[near[0]]
    return f"; is {theirs!r} meant for it? say so by {_rename(theirs, column)}"


def _rename(theirs: str, ours: str) -> str:
    """The option that maps a column, as a shell takes it."""
    return f"--rename {shlex.quote(f'{theirs}={ours}')}"


def _list(column: str, unknown: Sequence[str]) -> str:
    """The unknown columns, one of which must be ours."""
    if not unknown:
        return ""
    names = ", ".join(unknown[:8]) + (", ..." if len(unknown) > 8 else "")
    return f"; one of {names}? say so by --rename THEIRS={column}"


def _name_and_factor(text: str, option: str) -> tuple[str, float]:
    """'adapt_tokens*1e9' -> ('adapt_tokens', 1e9)."""
    match parse(text, option):
        case ast.Name(name):
            return name, 1.0
        case ast.BinOp(
            ast.Name(name), ast.Mult() | ast.Div() as op, ast.Constant(value)
        ) | ast.BinOp(ast.Constant(value), ast.Mult() as op, ast.Name(name)):
            if type(value) in (int, float) and 0 < value < float("inf"):
                return name, 1 / value if isinstance(op, ast.Div) else float(value)
            raise InputError(f"{option}: {text!r}; accepted is a factor above 0")
    raise InputError(
        f"{option}: {text!r}; accepted is one of our names, alone or times a number, such as "
        "adapt_tokens*1e9"
    )


def _round_to(values: np.ndarray, digits: int) -> np.ndarray:
    """To so many significant digits: 1 - 0.95 is 0.05."""
    return np.array([float(f"{value:.{digits}g}") for value in values])
