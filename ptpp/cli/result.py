"""What a command leaves: lines for people, an object for programs."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Result:
    """`lines` are printed, or `values` as JSON where `as_json`; `code` is the exit code."""

    lines: Sequence[str]
    values: Mapping[str, Any] = field(default_factory=dict)
    as_json: bool = False
    code: int = 0

    def render(self, notes: Sequence[str] = ()) -> str:
        """The text to print; `notes` stand before the lines, or under the key `notes`."""
        if self.as_json:
            return json.dumps(plain({**self.values, "notes": list(notes)}), allow_nan=False)
        return "\n".join([*(f"note: {line}" for line in notes), *self.lines])


def plain(value: Any) -> Any:
    """`value` as JSON knows it: numbers that are not finite are null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # of numpy
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
