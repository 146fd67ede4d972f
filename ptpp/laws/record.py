"""What a fit leaves behind: one frozen record, and its JSON file."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import jsonschema

from ptpp.errors import InputError
from ptpp.jobs.files import read_json, write_json


@dataclass(frozen=True)
class Fit:
    """One fitted law.

    `params`: every parameter at full precision, natural units (fixed ones too, listed in `fixed`).
    `reference`: the point at which the inputs are centred. `at_bounds`: "name=low" or "name=high".
    `objective`: sum over rows of Huber(delta) of log residuals. `share_1e6`, `share_1e3`: shares of
    the starts that came within that relative distance of the best objective. `converged`: the
    solver stopped by its own criteria, a restart from the optimum gains nothing, and a second
    start found it (see docs/laws.md). `ranges`: least and greatest measured value of each input.
    `warnings`: one line each. `settings`: how the fit was made. `gap`: how far the second best
    start's objective lies above the best, relative (None: there was none). `declaration`: the
    declared law itself, so that the record can be read without its file.
    """

    law: str
    protocol: str
    domain: str
    params: Mapping[str, float]
    fixed: tuple[str, ...]
    reference: Mapping[str, float]
    at_bounds: tuple[str, ...]
    objective: float
    n_rows: int
    share_1e6: float
    share_1e3: float
    converged: bool
    ranges: Mapping[str, tuple[float, float]]
    warnings: tuple[str, ...]
    settings: Mapping[str, float]
    data_sha256: str
    versions: Mapping[str, str]
    gap: float | None = None
    declaration: Mapping | None = None

    def to_json(self, path: str | os.PathLike) -> None:
        """Write the record; numbers keep full precision."""
        write_json(path, asdict(self))

    @classmethod
    def from_json(cls, path: str | os.PathLike) -> "Fit":
        """Read a record; raises InputError, one line, if the file does not hold one."""
        value = read_json(path)
        validator = jsonschema.Draft202012Validator(FIT_SCHEMA)
        error = jsonschema.exceptions.best_match(validator.iter_errors(value))
        if error is not None:
            where = "/".join(map(str, error.absolute_path)) or "the record"
            reason = error.message.splitlines()[0]
            raise InputError(f"{path}: {where}: {reason}; accepted is a fit of this version")
        for name in ("fixed", "at_bounds", "warnings"):
            value[name] = tuple(value[name])
        value["ranges"] = {name: tuple(pair) for name, pair in value["ranges"].items()}
        return cls(**value)


def _map(item: dict) -> dict:
    return {"type": "object", "additionalProperties": item}


_NUMBER = {"type": "number"}
_TEXT = {"type": "string"}
_TEXTS = {"type": "array", "items": _TEXT}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_RANGE = {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}
_PROPERTIES = {
    "law": _TEXT,
    "protocol": _TEXT,
    "domain": _TEXT,
    "params": {**_map(_NUMBER), "minProperties": 1},
    "fixed": _TEXTS,
    "reference": _map({"type": "number", "exclusiveMinimum": 0}),
    "at_bounds": _TEXTS,
    "objective": {"type": "number", "minimum": 0},
    "n_rows": {"type": "integer", "minimum": 1},
    "share_1e6": _SHARE,
    "share_1e3": _SHARE,
    "converged": {"type": "boolean"},
    "ranges": _map(_RANGE),
    "warnings": _TEXTS,
    "settings": _map({"type": ["number", "boolean"]}),
    "data_sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "versions": _map(_TEXT),
    "gap": {"type": ["number", "null"], "minimum": 0},
    "declaration": {"type": ["object", "null"]},
}
FIT_SCHEMA = {
    "type": "object",
    "properties": _PROPERTIES,
    "required": list(_PROPERTIES),
    "additionalProperties": False,
}
