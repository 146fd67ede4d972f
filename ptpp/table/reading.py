"""The one reader of CSV files: every field as text, and the line of the file it stands on."""

import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from ptpp.errors import InputError
from ptpp.jobs.files import require_file


@dataclass(frozen=True)
class Places:
    """How errors call the rows of a table: by its name and their lines."""

    source: str
    lines: Sequence[int]

    def error(self, position: int, column: str, message: str) -> InputError:
        return InputError(f"{self.source}: row {self.lines[position]}, column {column}: {message}")

    def refuse(self, bad: ArrayLike, values: pd.Series, message: str) -> None:
        """Raise for the first row where `bad` holds: its value, then `message`."""
        positions = np.flatnonzero(bad)
        if len(positions):
            text = number_text(values.iloc[positions[0]]) or "an empty field"
            raise self.error(positions[0], str(values.name), text + message)


def read_text(path: str | os.PathLike) -> tuple[pd.DataFrame, Places]:
    """All fields as text without spaces around them, and the line on which each row starts.

    Raises InputError, one line naming the file and the line, where the file is no table.
    """
    require_file(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    reader = csv.reader(text.splitlines(keepends=True), skipinitialspace=True)
    records: dict[int, list[str]] = {}  # by line
    start = 1
    try:
        for fields in reader:
            line, start = start, reader.line_num + 1
            if any(field.strip() for field in fields):
                records[line] = [field.strip() for field in fields]
    except csv.Error as error:
        raise InputError(f"{path}: row {reader.line_num}: not valid CSV ({error})") from None
    if not records:
        raise InputError(f"{path}: the file is empty; a header line and rows are needed")
    header = records.pop(min(records))
    seen: set[str] = set()
    for name in header:
        if name in seen:
            raise InputError(f"{path}: row 1: column {name!r} stands there more than once")
        seen.add(name)
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and separator in header[0]:
            raise InputError(
                f"{path}: row 1: fields are separated by {name}; accepted are commas, with a point "
                "as the decimal mark"
            )
    for line, fields in records.items():
        if len(fields) != len(header):
            hint = " (a decimal comma? write 3.5, not 3,5)" if len(fields) > len(header) else ""
            raise InputError(
                f"{path}: row {line}: {len(fields)} fields where the header has {len(header)}{hint}"
            )
    table = pd.DataFrame(list(records.values()), columns=header, dtype=object)
    return table, Places(str(path), list(records))


def number_text(value: object) -> str:
    """The shortest text that reads back to the same float; whole numbers without a point."""
    number = float(value)  # type: ignore[arg-type]
    if np.isnan(number):
        return ""
    return str(int(number)) if number.is_integer() and abs(number) < 2**53 else repr(number)
