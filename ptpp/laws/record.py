"""What a fit leaves behind: one frozen record with its JSON file, and the draws with theirs."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from ptpp.errors import InputError
from ptpp.jobs.files import atomic_file, read_json, write_json

_Share = Annotated[float, Field(ge=0, le=1)]
_NotNegative = Annotated[float, Field(ge=0)]
_Positive = Annotated[float, Field(gt=0)]


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
    params: Annotated[Mapping[str, float], Field(min_length=1)]
    fixed: tuple[str, ...]
    reference: Mapping[str, _Positive]
    at_bounds: tuple[str, ...]
    objective: _NotNegative
    n_rows: Annotated[int, Field(ge=1)]
    share_1e6: _Share
    share_1e3: _Share
    converged: bool
    ranges: Mapping[str, tuple[float, float]]
    warnings: tuple[str, ...]
    settings: Mapping[str, bool | int | float]
    data_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    versions: Mapping[str, str]
    gap: _NotNegative | None = None
    declaration: Mapping[str, Any] | None = None

    __pydantic_config__ = ConfigDict(extra="forbid")

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
                f"{path}: {place}: {first['input']!r:.80} in a fit of this version; {first['msg']}"
            ) from None


@dataclass(frozen=True)
class Draws:
    """What a bootstrap leaves: refits (m, p), natural units, and the residuals (n,) of the fit.

    `residuals`: log predicted - log observed on the fit's rows times sqrt(n / (n - parameters)),
    since a fit makes them smaller than the errors they stand for. `drawn`: parameters that the
    design cannot identify, drawn from their band. `band` (k,), `band_params` (k, p): refits with
    the parameter `band_name` held across its band; none where it is identified. `resamples`: a
    digest of which rows each draw counted how often; draws that share it can be compared pair by
    pair.
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

    def to_npz(self, path: str | os.PathLike, extra: Mapping[str, NDArray] | None = None) -> None:
        """Write the arrays, and `extra` ones; texts are arrays of text: reading needs no pickle."""
        own = {f.name: np.asarray(getattr(self, f.name)) for f in fields(self)}
        with atomic_file(path) as temporary:
            np.savez(temporary, **own, **(extra or {}))

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
        for name in ("names", "drawn"):
            value[name] = tuple(str(each) for each in np.atleast_1d(value[name]))
        shape, count = value["params"].shape, len(value["names"])
        if len(shape) != 2 or shape[1] != count:
            raise InputError(f"{path}: draws of {shape} for {count} parameters")
        texts = {name: str(value[name]) for name in ("band_name", "resamples")}
        return cls(**{**value, **texts, "seed": int(value["seed"])})
