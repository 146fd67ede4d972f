"""The one reader of CSV files: every field as text, and the line of the file it stands on."""

import csv
import os
from pathlib import Path

import pandas as pd

from ptpp.errors import InputError


def read_text(path: str | os.PathLike) -> tuple[pd.DataFrame, list[int]]:
    """All fields as text without spaces around them, and the line on which each row starts.

    Raises InputError, one line naming the file and the line, where the file is no table.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from None
    reader = csv.reader(text.splitlines(keepends=True), skipinitialspace=True)
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
            elif len(fields) != len(header):
                hint = " (a decimal comma? write 3.5, not 3,5)"
                raise InputError(
                    f"{path}: row {line}: {len(fields)} fields where the header has {len(header)}"
                    + (hint if len(fields) > len(header) else "")
                )
            else:
                records.append(fields)
                lines.append(line)
    except csv.Error as error:
        raise InputError(f"{path}: row {reader.line_num}: not valid CSV ({error})") from None
    if not header:
        raise InputError(f"{path}: the file is empty; a header line and rows are needed")
    return pd.DataFrame(records, columns=header, dtype=object), lines


def _check_header(header: list[str], path: str | os.PathLike) -> None:
    for name in header:
        if header.count(name) > 1:
            raise InputError(f"{path}: row 1: column {name!r} stands there more than once")
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(header) == 1 and separator in header[0]:
            raise InputError(
                f"{path}: row 1: fields are separated by {name}; accepted are commas, with a point "
                "as the decimal mark"
            )
