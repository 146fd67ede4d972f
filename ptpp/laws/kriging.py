"""The misfit of a law: a Gaussian process on log residuals, for correction and intervals.

What a law misses is smooth, and neighbouring cells share it. With y = ln observed - ln law at the
fitted cells, the law itself left as it was fitted,

    ln L(x) = ln law(x) + k(x)' (K + noise)^-1 y.

The variance is that of universal kriging: K -> K + J S J', where J holds the derivatives of ln law
in its parameters and S the variances of a flat prior between their bounds. So a parameter that the
cells do not tell widens the interval wherever the forecast depends on it. A Gaussian process for
the misfit follows Kennedy and O'Hagan 2001; kernel and constants are ours, and fixed. Two numbers
are fitted, the scale tau of the misfit and that of the noise of runs, by leaving out one size and
stage at a time.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from ptpp.laws.law import Law
from ptpp.laws.problem import Columns

NOISE = 1.6e-5  # square of .4 % of the loss
MOST_CELLS = 2000  # beyond, solving costs more than the correction is worth
TAUS = (0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6)
NOISES = (1.0, 1.4, 2.0, 2.8, 4.0)
_SCALE_SPREAD = 0.5  # of the logarithms about 0: how far from 1 the scales are expected
_LOG_AMPLITUDE, _LINEAR_AMPLITUDE = 1.0, 4.0  # prior variances; the second in nats^2
LEAST_MIX = 1e-3  # share or replay of 0 in a logarithm


@dataclass(frozen=True)
class Term:
    """`variance` times a product of factors, and times tau^2 where `scaled`.

    A factor is the name of a coordinate with a length (a Gaussian of the distance), "same <group>"
    (1 where two cells are of one group; a mean over k runs has a k-th of the variance), or
    "linear <coordinate>" (the product of the two values).
    """

    variance: float
    factors: tuple[str, ...]
    scaled: bool = True

    @property
    def of_run(self) -> bool:
        """Whether runs do not share it; such a term is not `scaled`."""
        return "same run" in self.factors


@dataclass(frozen=True)
class Kernel:
    """`lengths` of the coordinates in their own units, the terms of the covariance, and `noise`:
    the variance of the log loss of one run beside all that.
    """

    lengths: Mapping[str, float]
    terms: tuple[Term, ...]
    noise: float = NOISE

    def split(self) -> tuple["Kernel", "Kernel", "Kernel"]:
        """The terms that the scale of the misfit multiplies, those that the scale of the noise
        does, and the rest.
        """
        smooth = tuple(term for term in self.terms if term.scaled)
        of_runs = tuple(term for term in self.terms if term.of_run)
        fixed = tuple(term for term in self.terms if not (term.scaled or term.of_run))
        return tuple(replace(self, terms=terms) for terms in (smooth, of_runs, fixed))

    def with_noise(self, scale: float) -> "Kernel":
        """The same with the standard deviations of what runs do not share times `scale`."""
        terms = tuple(
            replace(term, variance=term.variance * scale**2) if term.of_run else term
            for term in self.terms
        )
        return Kernel(self.lengths, terms, self.noise * scale**2)


# Variances are squares of 1, 0.4 and 0.3 % of the loss.
_TERMS = (
    Term(1e-4, ("state", "size")),
    Term(1e-4, ("state", "size", "atpp")),
    Term(1.6e-5, ("atpp", "mix")),
    Term(1.6e-5, ("same checkpoint",)),
    Term(1.6e-5, ("same checkpoint", "atpp")),
    Term(4.5e-6, ("linear later",)),
    Term(4.5e-6, ("linear later", "same size")),
    Term(0.5e-4, ("state", "size", "linear slope"), scaled=False),
    Term(0.5e-4, ("state", "size", "linear slope", "atpp"), scaled=False),
    Term(0.8e-5, ("same run",), scaled=False),
    Term(0.8e-5, ("same run", "atpp"), scaled=False),
)
# Lengths: of ln PTPP or of a base loss in nats, of ln N, ln ATPP, and ln share or ln replay.
BY_PTPP = Kernel({"state": 1.5, "size": 0.7, "atpp": 1.0, "mix": 0.5}, _TERMS)
BY_BASE_LOSS = Kernel({"state": 0.25, "size": 0.7, "atpp": 1.0, "mix": 0.5}, _TERMS)
OF_FORGETTING = Kernel({"state": 0.25, "size": 0.7, "atpp": 1.0, "mix": 1.0}, _TERMS)


def kernel_of(law: Law) -> Kernel:
    """The kernel of a law's misfit, by what the law reads of the checkpoint."""
    if law.offset:
        return OF_FORGETTING
    return BY_BASE_LOSS if "base_loss" in law.inputs else BY_PTPP


@dataclass(frozen=True)
class Cells:
    """Where cells lie: `coordinates` (n,) by name, and `groups`: the texts (n,) by name.

    `runs` (n,): over how many runs a cell's loss is averaged. What a table has no column for is
    left out: its cells do not differ in it.
    """

    coordinates: Mapping[str, NDArray]
    groups: Mapping[str, NDArray]
    runs: NDArray

    @classmethod
    def of(cls, law: Law, frame: Columns, last_stage: float) -> "Cells":
        """The cells of `frame`, columns (n,). `last_stage`: PTPP of the last early stage.

        `state` is what the law reads of the checkpoint: its base loss, for forgetting the domain's
        loss before adaptation [nats], else ln PTPP. `later`: doublings of PTPP since `last_stage`.
        """
        names = ("n_params", "ptpp", "atpp", "adapt_tokens", "replay", "base_loss", "n_seeds")
        names = dict.fromkeys((*names, *([law.offset] if law.offset else [])))
        column = {name: np.asarray(frame[name], float) for name in names if name in frame}
        n = len(next(iter(column.values())))
        if "atpp" not in column and {"adapt_tokens", "n_params"} <= set(column):
            column["atpp"] = column["adapt_tokens"] / column["n_params"]
        places: dict[str, NDArray] = {}
        state = law.offset or ("base_loss" if "base_loss" in law.inputs else "ptpp")
        if state in column:
            places["state"] = np.log(column[state]) if state == "ptpp" else column[state]
        if "n_params" in column:
            places["size"] = np.log(column["n_params"])
        if "atpp" in column:
            places["atpp"] = np.log(column["atpp"])
        if "replay" in column:
            share = column["replay"] if law.offset else 1 - column["replay"]
            places["mix"] = np.log(np.maximum(share, LEAST_MIX))
            places["slope"] = places["mix"] * (-0.5 if law.offset else 1.0)
        if "ptpp" in column:
            places["later"] = np.log2(column["ptpp"] / last_stage)
        return cls(places, _group_names(frame, column, n), column.get("n_seeds", np.ones(n)))


def _group_names(frame: Columns, column: Mapping[str, NDArray], n: int) -> dict[str, NDArray]:
    """The groups of every cell as texts: size, checkpoint and run. Plain columns of a table."""

    def text(*names: str) -> NDArray:
        parts = [np.char.mod("%.9g", column[name]) for name in names if name in column]
        if "seed" in frame:
            parts.append(np.asarray(frame["seed"]).astype(str))
        result = np.full(n, "", dtype="U1")
        for part in parts:
            result = np.char.add(np.char.add(result, part), " ")
        return result

    groups = {"size": np.char.mod("%.9g", column["n_params"])} if "n_params" in column else {}
    if {"n_params", "ptpp"} <= set(column):
        groups["checkpoint"] = text("n_params", "ptpp")
        if "replay" in column:
            groups["run"] = text("n_params", "ptpp", "replay")
    return groups


def covariance(kernel: Kernel, tau: float, a: Cells, b: Cells) -> NDArray:
    """Covariance (n, m) of the misfit between cells `a` (n) and `b` (m), squares of log loss."""
    factors: dict[str, NDArray | float] = {}
    total = np.zeros((len(a.runs), len(b.runs)))
    for term in kernel.terms:
        value: NDArray | float = term.variance * (tau**2 if term.scaled else 1.0)
        for name in term.factors:
            if name not in factors:
                factors[name] = _factor(kernel, name, a, b)
            value = value * factors[name]
        total += value
    return total


def variance(kernel: Kernel, tau: float, cells: Cells) -> NDArray:
    """The diagonal (n,) of the covariance of cells with themselves."""
    total = np.zeros(len(cells.runs))
    for term in kernel.terms:
        value = np.full(len(total), term.variance * (tau**2 if term.scaled else 1.0))
        for name in term.factors:
            kind, _, rest = name.partition(" ")
            if kind == "linear":
                value *= cells.coordinates[rest] ** 2 if rest in cells.coordinates else 0.0
            elif kind == "same":
                value *= (1.0 if rest == "size" else 1 / cells.runs) * (rest in cells.groups)
        total += value
    return total


def _factor(kernel: Kernel, name: str, a: Cells, b: Cells) -> NDArray | float:
    kind, _, rest = name.partition(" ")
    if kind == "linear":
        if rest not in a.coordinates:
            return 0.0
        return a.coordinates[rest][:, None] * b.coordinates[rest][None]
    if kind == "same":
        if rest not in a.groups:
            return 0.0
        names = np.concatenate([a.groups[rest], b.groups[rest]])
        numbers = np.unique(names, return_inverse=True)[1]  # faster to compare than texts
        same = numbers[: len(a.runs), None] == numbers[None, len(a.runs) :]
        return same if rest == "size" else same / np.sqrt(a.runs[:, None] * b.runs[None])
    if name not in a.coordinates:
        return 1.0
    apart = (a.coordinates[name][:, None] - b.coordinates[name][None]) / kernel.lengths[name]
    return np.exp(-(apart**2) / 2)


def prior_variances(law: Law) -> NDArray:
    """Prior variances (p,) of the solver's parameters: of a flat prior between the bounds, and of
    amplitudes 1 (logarithmic) or 4 nats^2 (linear).
    """
    low, high = law.bounds()
    flat = (high - low) ** 2 / 12
    kinds = [(p.amplitude, p.scale) for p in law.parameters]
    of_amplitude = [_LOG_AMPLITUDE if scale == "log" else _LINEAR_AMPLITUDE for _, scale in kinds]
    return np.where([bool(amplitude) for amplitude, _ in kinds], of_amplitude, flat)


@dataclass(frozen=True)
class Misfit:
    """The misfit of one fitted law at its n cells, conditioned on what was measured there.

    `residuals` (n,): ln observed - ln law. `slopes` (n, p): of ln law in the solver's parameters.
    `prior` (p,): their variances. `tau`: the scale of the misfit. `last_stage`: PTPP of the last
    early stage. `largest`: ln of the largest fitted size. `drift`: standard deviation of the log
    loss per square root of ln N beyond it.
    """

    kernel: Kernel
    cells: Cells
    residuals: NDArray
    slopes: NDArray
    prior: NDArray
    tau: float
    last_stage: float
    largest: float = np.inf
    drift: float = 0.0

    def __post_init__(self) -> None:
        plain = covariance(self.kernel, self.tau, self.cells, self.cells)
        plain[np.diag_indices_from(plain)] += self.kernel.noise / self.cells.runs
        wide = plain + (self.slopes * self.prior) @ self.slopes.T
        object.__setattr__(self, "_weights", cho_solve(cho_factor(plain), self.residuals))
        object.__setattr__(self, "_factor", cho_factor(wide, lower=True))

    @property
    def weights(self) -> NDArray:
        """What the covariance with each cell (n,) adds to ln law."""
        return self._weights

    def posterior(
        self, cells: Cells, slopes: NDArray, noise: bool = True
    ) -> tuple[NDArray, NDArray]:
        """What is added to ln law (m,), and the standard deviation (m,) of a measured log loss; or,
        `noise` False, of the mean over many runs.

        `slopes` (m, p): derivatives of ln law at the cells in the solver's parameters.
        """
        if not noise:
            cells = replace(cells, runs=np.full(len(cells.runs), np.inf))
        known = covariance(self.kernel, self.tau, cells, self.cells)
        wide = known + (slopes * self.prior) @ self.slopes.T
        spread = variance(self.kernel, self.tau, cells) + self.kernel.noise / cells.runs
        spread = spread + np.sum(slopes**2 * self.prior, axis=1)
        spread -= np.sum(wide * cho_solve(self._factor, wide.T).T, axis=1)
        spread += self.drift**2 * self._beyond(cells)
        return known @ self._weights, np.sqrt(np.maximum(spread, 1e-12))

    def joint(self, a: Cells, a_slopes: NDArray, b: Cells, b_slopes: NDArray) -> NDArray:
        """Covariance (m, c) of the log losses at cells `a` (m), each the mean over many runs, and
        `b` (c), given what was measured: what measuring one tells of another.
        """
        a = replace(a, runs=np.full(len(a.runs), np.inf))
        wide = [
            covariance(self.kernel, self.tau, cells, self.cells)
            + (slopes * self.prior) @ self.slopes.T
            for cells, slopes in ((a, a_slopes), (b, b_slopes))
        ]
        prior = covariance(self.kernel, self.tau, a, b) + (a_slopes * self.prior) @ b_slopes.T
        drifted = self.drift**2 * np.minimum(self._beyond(a)[:, None], self._beyond(b)[None])
        return prior + drifted - wide[0] @ cho_solve(self._factor, wide[1].T)

    def _beyond(self, cells: Cells) -> NDArray:
        """How far (m,) in ln N cells lie beyond the largest fitted size."""
        size = cells.coordinates.get("size")
        return np.zeros(len(cells.runs)) if size is None else np.maximum(size - self.largest, 0.0)


def find_scales(
    kernel: Kernel, cells: Cells, residuals: NDArray, wide: NDArray, blocks: Sequence
) -> tuple[float, float]:
    """The scales of the misfit and of the noise under which left-out `blocks` (n,) of cells are
    most likely.

    `wide` (n, n): the covariance that the law's parameters add. The score is the sum over blocks of
    the mean log density of their cells, each block forecast from the others (in closed form), minus
    (ln scale / 0.5)^2 / 2 for each of the two.
    """
    numbers = np.unique(np.asarray(blocks), return_inverse=True)[1]
    places = [np.flatnonzero(numbers == k) for k in range(numbers.max() + 1)]
    smooth, of_runs, fixed = (covariance(one, 1.0, cells, cells) for one in kernel.split())
    of_runs[np.diag_indices_from(of_runs)] += kernel.noise / cells.runs
    fixed += wide
    best, found = -np.inf, (1.0, 1.0)
    for noise, tau in product(NOISES, TAUS):
        total = tau**2 * smooth + noise**2 * of_runs + fixed
        inverse = cho_solve(cho_factor(total), np.eye(len(total)))
        weights = inverse @ residuals
        logs = np.log([noise, tau]) / _SCALE_SPREAD
        score = -float(logs @ logs) / 2
        for place in places:
            block = np.linalg.inv(inverse[np.ix_(place, place)])
            spread = np.diag(block)
            error = block @ weights[place]
            score += np.mean(-0.5 * np.log(2 * np.pi * spread) - error**2 / (2 * spread))
        if score > best:
            best, found = score, (tau, noise)
    return found


def to_arrays(misfit: Misfit) -> dict[str, NDArray]:
    """A misfit as arrays by name, without objects, for a file."""
    arrays = {f"at {name}": values for name, values in misfit.cells.coordinates.items()}
    arrays |= {f"of {name}": values for name, values in misfit.cells.groups.items()}
    names = ("residuals", "slopes", "prior", "tau", "last_stage", "largest", "drift")
    arrays |= {name: np.asarray(getattr(misfit, name)) for name in names}
    scale = np.sqrt(misfit.kernel.noise / NOISE)
    return arrays | {"runs": misfit.cells.runs, "noise": np.asarray(scale)}


def from_arrays(law: Law, arrays: Mapping[str, NDArray]) -> Misfit:
    """The misfit of a fit of `law` from `to_arrays`; raises KeyError or ValueError for others."""
    places = {n.removeprefix("at "): v for n, v in arrays.items() if n.startswith("at ")}
    groups = {n.removeprefix("of "): v for n, v in arrays.items() if n.startswith("of ")}
    numbers = {n: float(arrays[n]) for n in ("tau", "last_stage", "largest", "drift")}
    cells = Cells(places, groups, arrays["runs"])
    vectors = {n: arrays[n] for n in ("residuals", "slopes", "prior")}
    kernel = kernel_of(law).with_noise(float(arrays["noise"]))
    misfit = Misfit(kernel, cells, **vectors, **numbers)
    n, p = misfit.slopes.shape
    if any(len(v) != n for v in (*places.values(), *groups.values(), cells.runs)):
        raise ValueError("arrays of different lengths")
    if misfit.residuals.shape != (n,) or misfit.prior.shape != (p,) or p != len(law.parameters):
        raise ValueError("arrays of different shapes")
    return misfit
