"""What a fit leaves behind: one frozen record with its JSON file, and the draws with theirs."""

import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from numbers import Real
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.jobs.files import atomic_file, read_json, write_json


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
        problem = _find_problem(value)
        if problem is not None:
            raise InputError(f"{path}: {problem}; of a fit of this version")
        for name in ("fixed", "at_bounds", "warnings"):
            value[name] = tuple(value[name])
        value["ranges"] = {name: tuple(pair) for name, pair in value["ranges"].items()}
        return cls(**value)


@dataclass(frozen=True)
class Draws:
    """What a bootstrap leaves: refits (m, p), natural units, and the residuals (n,) of the fit.

    `residuals`: log predicted - log observed on the fit's rows times sqrt(n / (n - parameters)),
    since a fit makes them smaller than the errors they stand for. `drawn`: parameters that the
    design cannot identify, drawn from their band. `band` (k,), `band_params` (k, p): refits with
    the parameter `band_name` held at each value of its band; none where it is identified.
    `resamples`: a digest of which rows each draw counted how often; draws of two laws that share it
    can be compared pair by pair.
    """

    names: tuple[str, ...]
    params: NDArray
    objectives: NDArray
    residuals: NDArray
    drawn: tuple[str, ...]
    band_name: str
    band: NDArray
    band_params: NDArray
    resamples: str
    seed: int

    def to_npz(self, path: str | os.PathLike) -> None:
        """Write the arrays; texts are arrays of text, so reading needs no pickle."""
        with atomic_file(path) as temporary:
            np.savez(temporary, **{f.name: np.asarray(getattr(self, f.name)) for f in fields(self)})

    @classmethod
    def from_npz(cls, path: str | os.PathLike) -> "Draws":
        """Read draws; raises InputError, one line, if the file does not hold them."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                value = {f.name: stored[f.name] for f in fields(cls)}
        except FileNotFoundError:
            raise InputError(f"{path}: no such file") from None
        except (OSError, ValueError, KeyError, EOFError, BadZipFile):
            raise InputError(
                f"{path}: not bootstrap draws; accepted is the .npz beside a fit of this version"
            ) from None
        names = tuple(str(name) for name in np.atleast_1d(value["names"]))
        if value["params"].ndim != 2 or value["params"].shape[1] != len(names):
            raise InputError(
                f"{path}: draws of {value['params'].shape} for {len(names)} parameters"
            )
        value |= {
            "names": names,
            "drawn": tuple(str(name) for name in np.atleast_1d(value["drawn"])),
            "band_name": str(value["band_name"]),
            "resamples": str(value["resamples"]),
            "seed": int(value["seed"]),
        }
        return cls(**value)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


# What each field of a record's file may hold: words for it, and the test.
_TEXT = "a text", _is_text
_TEXTS = "a list of texts", lambda v: isinstance(v, list) and all(map(_is_text, v))
_NUMBER = "a number", _is_number
_NOT_NEGATIVE = "a number, 0 or more", lambda v: _is_number(v) and v >= 0
_SHARE = "a number from 0 to 1", lambda v: _is_number(v) and 0 <= v <= 1
_FIELDS = {
    **dict.fromkeys(("law", "protocol", "domain"), _TEXT),
    **dict.fromkeys(("fixed", "at_bounds", "warnings"), _TEXTS),
    **dict.fromkeys(("share_1e6", "share_1e3"), _SHARE),
    "objective": _NOT_NEGATIVE,
    "n_rows": ("a count above 0", lambda v: isinstance(v, int) and v is not True and v >= 1),
    "converged": ("true or false", lambda v: isinstance(v, bool)),
    "data_sha256": ("64 hexadecimal digits", lambda v: _is_text(v) and _DIGEST.fullmatch(v)),
    "gap": ("a number, 0 or more, or null", lambda v: v is None or _NOT_NEGATIVE[1](v)),
    "declaration": ("a mapping or null", lambda v: v is None or isinstance(v, Mapping)),
}
# Fields that are mappings, and what each of their values may be.
_ENTRIES = {
    "params": _NUMBER,
    "reference": ("a number above 0", lambda v: _is_number(v) and v > 0),
    "ranges": (
        "a pair of numbers",
        lambda v: isinstance(v, list) and len(v) == 2 and all(map(_is_number, v)),
    ),
    "settings": ("a number, true or false", lambda v: isinstance(v, Real)),
    "versions": _TEXT,
}
_DIGEST = re.compile("[0-9a-f]{64}")


def _find_problem(value: object) -> str | None:
    """Where a file's content is no record, what stands there and what is accepted; or None."""
    names = [field.name for field in fields(Fit)]
    if not isinstance(value, dict) or set(value) != set(names):
        odd = sorted(set(value) ^ set(names)) if isinstance(value, dict) else [type(value).__name__]
        return f"the record: {odd[0]!r} is missing or unknown; accepted are the keys"
    for name, (accepted, is_good) in _FIELDS.items():
        if not is_good(value[name]):
            return f"{name}: {value[name]!r:.80}; accepted is {accepted}"
    for name, (accepted, is_good) in _ENTRIES.items():
        if not isinstance(value[name], dict) or (name == "params" and not value[name]):
            return f"{name}: {value[name]!r:.80}; accepted is a mapping"
        for key, entry in value[name].items():
            if not is_good(entry):
                return f"{name}/{key}: {entry!r:.80}; accepted is {accepted}"
    return None
