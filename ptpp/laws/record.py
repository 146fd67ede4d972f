"""What a fit leaves behind: one frozen record with its JSON file, and the draws with theirs."""

import hashlib
import json
import os
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from tokenize import TokenError
from typing import Annotated, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ptpp.errors import InputError
from ptpp.jobs.files import atomic_file, check_output, read_json, require_file, write_json
from ptpp.laws.law import Law

_Finite = Annotated[float, Field(allow_inf_nan=False)]
_Share = Annotated[float, Field(ge=0, le=1)]
_NotNegative = Annotated[_Finite, Field(ge=0)]
_Positive = Annotated[_Finite, Field(gt=0)]
_SLACK = 1e-9  # of a bound: what rounding to the solver's scale and back may do
# What reading an archive of arrays raises where it is damaged.
DAMAGED = (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error)
DAMAGED += (MemoryError, RuntimeError, TypeError, OverflowError, SyntaxError, TokenError)


@dataclass(frozen=True)
class Fit:
    """One fitted law.

    `params`: every parameter, natural units (fixed ones too, listed in `fixed`). `reference`: where
    the inputs are centred. `at_bounds`: "name=low" or "name=high". `objective`: sum over rows of
    Huber(delta) of log residuals. `share_1e6`, `share_1e3`: shares of the starts within that
    relative distance of the best objective; `gap`: that of the second best (None: there was none).
    `converged`: the solver stopped by its own criteria, a restart from the optimum gains nothing,
    and a second start found it (see docs/laws.md). `ranges`: least and greatest measured value of
    each input. `declaration`: the declared law, so that the record can be read without its file.
    """

    law: str
    protocol: str
    domain: str
    params: Annotated[Mapping[str, _Finite], Field(min_length=1)]
    fixed: tuple[str, ...]
    reference: Mapping[str, _Positive]
    at_bounds: tuple[str, ...]
    objective: _NotNegative
    n_rows: Annotated[int, Field(ge=1)]
    share_1e6: _Share
    share_1e3: _Share
    converged: bool
    ranges: Mapping[str, tuple[_Finite, _Finite]]
    warnings: tuple[str, ...]
    settings: Mapping[str, bool | int | _Finite]
    data_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    versions: Mapping[str, str]
    gap: _NotNegative | None = None
    declaration: Mapping[str, Any] | None = None

    __pydantic_config__ = ConfigDict(extra="forbid")

    @property
    def digest(self) -> str:
        """SHA-256 of the law's name, the data and every parameter: what draws belong to."""
        digest = hashlib.sha256(f"{self.law}\0{self.data_sha256}".encode())
        for name, value in sorted(self.params.items()):
            digest.update(f"\0{name}\0{float(value).hex()}".encode())
        return digest.hexdigest()

    def to_json(self, path: str | os.PathLike) -> None:
        """Write the record; numbers keep full precision."""
        write_json(path, asdict(self))

    @classmethod
    def from_json(cls, path: str | os.PathLike) -> "Fit":
        """Read a record; raises InputError, one line, if the file does not hold one."""
        text = json.dumps(read_json(path))
        try:
            return TypeAdapter(cls).validate_json(text, strict=True)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = "/".join(map(str, first["loc"])) or "the record"
            raise InputError(
                f"{path}: {place:.80}: {_cut(first['input'])} in a fit of this version; "
                f"{first['msg']}"
            ) from None

    def check(self, law: Law, path: str | os.PathLike) -> None:
        """Raise InputError, naming the file `path`, where the record cannot be a fit of `law`."""

        def refuse(place: str, found: object, accepted: str) -> None:
            raise InputError(f"{path}: {place}: {_cut(found)}; accepted is {accepted}")

        def same_names(place: str, found: Mapping, wanted: tuple[str, ...], of: str) -> None:
            if set(found) != set(wanted):
                refuse(place, sorted(found), f"a value for each {of}: {', '.join(wanted)}")

        same_names("params", self.params, law.names, f"parameter of law {law.name}")
        same_names("reference", self.reference, law.centred, "centred input")
        same_names("ranges", self.ranges, law.inputs, "input")
        for parameter in law.parameters:
            value, ends = self.params[parameter.name], (parameter.low, parameter.high)
            slack = _SLACK * max(map(abs, ends))
            if not (ends[0] - slack <= value <= ends[1] + slack) and value != parameter.fixed:
                accepted = f"a number from {ends[0]:g} to {ends[1]:g}"
                refuse(f"params/{parameter.name}", value, accepted)
        for name, (low, high) in self.ranges.items():
            if low > high:
                refuse(f"ranges/{name}", [low, high], "the least value before the greatest")
            centre, slack = self.reference.get(name, high), _SLACK * high
            if not low - slack <= centre <= high + slack:
                refuse(f"reference/{name}", centre, f"a number from {low:g} to {high:g}")
        for name in self.fixed:
            if name not in law.names:
                refuse("fixed", name, f"one of {', '.join(law.names)}")
        delta = self.settings.get("delta")
        if not isinstance(delta, int | float) or isinstance(delta, bool) or not delta > 0:
            refuse("settings/delta", delta, "a number above 0")


@dataclass(frozen=True)
class Draws:
    """What a bootstrap leaves: refits (m, p), natural units, and the residuals (n,) of the fit.

    `residuals`: log predicted - log observed on the fit's rows times sqrt(n / (n - parameters)),
    since a fit makes them smaller than the errors they stand for. `drawn`: parameters that the
    design cannot identify, drawn from their band. `band` (k,), `band_params` (k, p): refits with
    the parameter `band_name` held across its band; none where it is identified. `resamples`: a
    digest of which rows each draw counted how often; draws that share it can be compared pair by
    pair. `unit`: what was resampled: "run", "row" or "residual". `fit`: the digest of the record
    that a file of draws belongs to.
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
    unit: str = "run"
    fit: str = ""

    def to_npz(self, path: str | os.PathLike, extra: Mapping[str, NDArray] | None = None) -> None:
        """Write the arrays, and `extra` ones; texts are arrays of text: reading needs no pickle."""
        own = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        with atomic_file(path) as temporary:
            np.savez(temporary, **own, **(extra or {}))

    @classmethod
    def from_npz(cls, path: str | os.PathLike) -> "Draws":
        """Read draws; raises InputError, one line, if the file does not hold them."""
        require_file(path)
        try:
            with np.load(path, allow_pickle=False) as stored:
                value = {f.name: stored[f.name] for f in fields(cls)}
            for name in ("names", "drawn"):
                value[name] = tuple(str(each) for each in np.atleast_1d(value[name]))
            for name in ("band_name", "resamples", "unit", "fit"):
                value[name] = str(value[name])
            value["seed"] = int(value["seed"])
            arrays = [value[name] for name in _SHAPES]
            if any(array.dtype.kind not in "fi" for array in arrays):
                raise TypeError
        except DAMAGED:
            raise InputError(
                f"{path}: not bootstrap draws; accepted is the .npz beside a fit of this version"
            ) from None
        lengths = {"p": len(value["names"])}
        for name, shape in _SHAPES.items():
            found = value[name].shape
            expected = tuple(lengths.setdefault(k, n) for k, n in zip(shape, found, strict=False))
            if found != expected or len(found) != len(shape):
                raise InputError(f"{path}: {name}: draws of {found} for {lengths['p']} parameters")
            if not np.isfinite(value[name]).all():
                raise InputError(f"{path}: {name}: not finite; accepted are finite numbers")
        if not (len(value["params"]) and len(value["residuals"])):
            raise InputError(f"{path}: no draws or no residuals; accepted is one or more")
        return cls(**value)

    def check(self, record: Fit, law: Law, path: str | os.PathLike) -> None:
        """Raise InputError, naming the file `path`, unless these are draws of `record`."""
        if self.names != law.names:
            raise InputError(
                f"{path}: draws of the parameters {', '.join(self.names)}; accepted are those "
                f"of law {law.name}: {', '.join(law.names)}"
            )
        if self.fit != record.digest:
            raise InputError(
                f"{path}: draws of another fit than the one beside it; accepted are its own: "
                "fit again, or delete this file"
            )
        low, high = np.array([(p.low, p.high) for p in law.parameters]).T
        held = np.array([np.nan if p.fixed is None else p.fixed for p in law.parameters])
        slack = _SLACK * np.maximum(np.abs(low), np.abs(high))
        for params in (self.params, self.band_params):
            inside = (params >= low - slack) & (params <= high + slack) | (params == held)
            if not inside.all():
                row, column = np.argwhere(~inside)[0]
                raise InputError(
                    f"{path}: draw {row + 1}: {self.names[column]} is {params[row, column]:g}; "
                    f"accepted is a number from {low[column]:g} to {high[column]:g}"
                )


# The shapes of the arrays of draws: a letter stands for one length.
_SHAPES = {"params": "mp", "objectives": "m", "residuals": "n", "band": "k", "band_params": "kp"}


def draws_path(path: str | os.PathLike) -> Path:
    """Where the draws of a fit's file stand: x.json -> x.npz, any other name x -> x.npz."""
    path = Path(path)
    return path.with_suffix(".npz") if path.suffix == ".json" else Path(f"{path}.npz")


def is_fit(path: str | os.PathLike) -> bool:
    """Whether a file looks like a fit, of this version or another."""
    try:
        value = read_json(path)
    except InputError:
        return False
    return isinstance(value, dict) and {"law", "params", "data_sha256"} <= set(value)


def are_draws(path: str | os.PathLike) -> bool:
    """Whether a file looks like draws, of this version or another."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {"names", "params", "objectives"} <= set(stored.files)
    except (*DAMAGED, AttributeError):
        return False


def check_places(path: str | os.PathLike, inputs: Iterable[str | os.PathLike] = ()) -> None:
    """Raise InputError unless a fit may be written to `path` and its draws beside it.

    What stands there must be a fit, or draws, and none of the `inputs`; and no other fit may have
    its draws in the same place.
    """
    inputs, beside = list(inputs), draws_path(path)
    check_output(path, inputs, is_fit, "a fit")
    check_output(beside, inputs, are_draws, "bootstrap draws")
    path = Path(path)
    other = path.with_suffix("") if path.suffix == ".json" else Path(f"{path}.json")
    if other.is_file() and is_fit(other):
        raise InputError(
            f"{path}: its draws would go to {beside}, where those of {other} stand; accepted is "
            "another name"
        )


def _cut(value: object) -> str:
    """What was found, short enough for a line."""
    return f"{value!r:.80}"
