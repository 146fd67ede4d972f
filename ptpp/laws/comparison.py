"""How much a score is worth: bootstrap intervals, and whether one law beats another.

A draw's score takes that draw's refit and that draw's resample of the held-out runs, so its spread
holds both what the fit could have been and what the test could have been. Laws that were fitted and
scored on the same rows share their resamples and are compared draw by draw (paired bootstrap).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.laws.experiment import Experiment
from ptpp.laws.fitted import LEVEL, FittedLaw
from ptpp.laws.scoring import score
from ptpp.laws.uncertainty import coverage, resample_counts

_HELD_OUT_STREAM = 2  # keeps the resamples of held-out rows apart from those of the fit's rows


def score_draws(fitted: FittedLaw, held_out: pd.DataFrame) -> pd.DataFrame:
    """The scores of every draw (m, scores), each on its own resample of the held-out runs."""
    predicted = fitted.loss_draws(held_out)
    observed = held_out["loss"].to_numpy(float)
    seed = fitted.draws.seed + _HELD_OUT_STREAM
    counts = resample_counts(held_out, len(predicted), seed, keep_levels=False)
    return pd.DataFrame(
        [
            score(np.repeat(observed, times), np.repeat(values, times))
            for values, times in zip(predicted, counts, strict=True)
        ]
    )


def score_intervals(
    fitted: FittedLaw, held_out: pd.DataFrame, level: float = LEVEL
) -> pd.DataFrame:
    """Every score with its bootstrap interval: columns score, value, low, high."""
    values = fitted.score(held_out)
    each = score_draws(fitted, held_out)
    ends = each.quantile([(1 - level) / 2, (1 + level) / 2])
    return pd.DataFrame(
        {
            "score": list(values),
            "value": list(values.values()),
            "low": ends.iloc[0][list(values)].to_numpy(),
            "high": ends.iloc[1][list(values)].to_numpy(),
        }
    )


def interval_table(
    fits: Sequence[FittedLaw], experiment: Experiment, level: float = LEVEL
) -> pd.DataFrame:
    """`score_intervals` of every fit, one row per law, protocol, domain and score."""
    parts = []
    for one in fits:
        table = score_intervals(one, experiment.split_of(one).held_out, level)
        parts.append(table.assign(**one.label)[[*one.label, *table.columns]])
    return pd.concat(parts, ignore_index=True)


def coverage_table(
    fits: Sequence[FittedLaw], experiment: Experiment, level: float = LEVEL
) -> pd.DataFrame:
    """How often held-out losses lie within their prediction intervals, one row per fit.

    `coverage`: measured share, to be compared with `level`. `mean_width`: mean width of the
    intervals as a share of the prediction; `mean_width_of_law`: the same without residual noise.
    `drawn`: parameters that were drawn from their band, since the rows cannot identify them.
    """
    rows = []
    for one in fits:
        held_out = experiment.split_of(one).held_out
        predicted = one.loss(held_out)
        low, high = one.interval(held_out, level)
        inner = one.interval(held_out, level, noise=False)
        rows.append(
            {
                **one.label,
                "level": level,
                "n_held_out": len(held_out),
                "coverage": coverage(held_out["loss"], low, high),
                "mean_width": float(np.mean((high - low) / predicted)),
                "mean_width_of_law": float(np.mean((inner[1] - inner[0]) / predicted)),
                "draws": len(one.draws.params),
                "drawn": " ".join(one.draws.drawn),
            }
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class _Entry:
    """A fit in a comparison, with the rows it is scored on."""

    fitted: FittedLaw
    held_out: pd.DataFrame

    @cached_property
    def mae_rel(self) -> float:
        return self.fitted.score(self.held_out)["mae_rel"]

    @cached_property
    def mae_rel_draws(self) -> np.ndarray:
        return score_draws(self.fitted, self.held_out)["mae_rel"].to_numpy()


def comparison_table(
    fits: Sequence[FittedLaw], experiment: Experiment, level: float = LEVEL
) -> pd.DataFrame:
    """Every pair of laws under the same protocol and domain, the one of lower MAErel first.

    `difference`: MAErel of `law` minus that of `other`, with its interval; `probability`: the share
    of draws in which `law` has the lower one (ties count half). Raises InputError for fits whose
    draws were not made from the same resamples.
    """
    columns = ("protocol", "domain", "law", "other", "mae_rel", "other_mae_rel")
    columns += ("difference", "low", "high", "probability")
    groups: dict[tuple[str, str], list[_Entry]] = {}
    for one in fits:
        entry = _Entry(one, experiment.split_of(one).held_out)
        groups.setdefault((one.record.protocol, one.record.domain), []).append(entry)
    rows = []
    for labels, group in groups.items():
        for better, other in combinations(sorted(group, key=lambda one: one.mae_rel), 2):
            _check_paired(better, other)
            gaps = better.mae_rel_draws - other.mae_rel_draws
            low, high = np.quantile(gaps, [(1 - level) / 2, (1 + level) / 2])
            share = float(np.mean(gaps < 0) + 0.5 * np.mean(gaps == 0))
            names = (better.fitted.record.law, other.fitted.record.law)
            scores = (better.mae_rel, other.mae_rel, better.mae_rel - other.mae_rel)
            rows.append((*labels, *names, *scores, low, high, share))
    return pd.DataFrame(rows, columns=list(columns))


def _check_paired(a: _Entry, b: _Entry) -> None:
    ours, theirs = a.fitted.draws, b.fitted.draws
    same = ours.resamples == theirs.resamples and ours.seed == theirs.seed
    if not same or not np.array_equal(a.held_out["loss"], b.held_out["loss"]):
        label = a.fitted.label
        raise InputError(
            f"comparison of {label['law']} and {b.fitted.record.law} ({label['protocol']}, "
            f"{label['domain']}): their draws are not of the same resamples; accepted are "
            "bootstraps of equal rows, number of draws and seed"
        )
