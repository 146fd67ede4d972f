"""How much a score is worth: bootstrap intervals, and whether one law beats another.

A draw's score takes that draw's refit and that draw's resample of the held-out runs, so its spread
holds both what the fit could have been and what the test could have been. Laws that were fitted and
scored on the same rows share their resamples and are compared draw by draw (paired bootstrap).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.laws.experiment import predictions, split_of
from ptpp.laws.fitting import predict_loss
from ptpp.laws.law import Law
from ptpp.laws.record import Fit
from ptpp.laws.scoring import score
from ptpp.laws.uncertainty import (
    LEVEL,
    Draws,
    coverage,
    predict_loss_draws,
    prediction_interval,
    resample_counts,
)

_HELD_OUT_STREAM = 2  # keeps the resamples of held-out rows apart from those of the fit's rows


@dataclass(frozen=True)
class Contender:
    """A fit, its bootstrap draws and the rows it is scored on."""

    record: Fit
    draws: Draws
    held_out: pd.DataFrame


def score_draws(
    record: Fit, draws: Draws, held_out: pd.DataFrame, law: Law | None = None
) -> pd.DataFrame:
    """The scores of every draw (m, scores), each on its own resample of the held-out runs."""
    predicted = predict_loss_draws(record, draws.params, held_out, law)
    observed = held_out["loss"].to_numpy(float)
    counts = resample_counts(
        held_out, len(predicted), draws.seed + _HELD_OUT_STREAM, keep_levels=False
    )
    return pd.DataFrame(
        [
            score(np.repeat(observed, times), np.repeat(values, times))
            for values, times in zip(predicted, counts, strict=True)
        ]
    )


def score_intervals(
    record: Fit,
    draws: Draws,
    held_out: pd.DataFrame,
    level: float = LEVEL,
    law: Law | None = None,
) -> pd.DataFrame:
    """Every score with its bootstrap interval: columns score, value, low, high."""
    values = score(held_out["loss"].to_numpy(float), predict_loss(record, held_out, law))
    each = score_draws(record, draws, held_out, law)
    ends = each.quantile([(1 - level) / 2, (1 + level) / 2])
    return pd.DataFrame(
        {
            "score": list(values),
            "value": list(values.values()),
            "low": ends.iloc[0][list(values)].to_numpy(),
            "high": ends.iloc[1][list(values)].to_numpy(),
        }
    )


def predictions_with_intervals(
    fits: Sequence[Fit],
    draws: Sequence[Draws],
    observations: pd.DataFrame,
    held_out: float,
    anchors: pd.DataFrame,
    level: float = LEVEL,
) -> pd.DataFrame:
    """`ptpp.laws.experiment.predictions` with the ends of each prediction's interval, low, high."""
    parts = []
    for record, of_record in zip(fits, draws, strict=True):
        table = predictions([record], observations, held_out, anchors)
        rows = split_of(record, observations, held_out, anchors)
        both = pd.concat([rows.fit, rows.held_out], ignore_index=True)
        low, high = prediction_interval(record, of_record, both, level)
        parts.append(table.assign(low=low, high=high))
    return pd.concat(parts, ignore_index=True)


def interval_table(contenders: Sequence[Contender], level: float = LEVEL) -> pd.DataFrame:
    """`score_intervals` of every fit, one row per law, protocol, domain and score."""
    parts = []
    for one in contenders:
        table = score_intervals(one.record, one.draws, one.held_out, level)
        parts.append(_labelled(one.record, table))
    return pd.concat(parts, ignore_index=True)


def coverage_table(contenders: Sequence[Contender], level: float = LEVEL) -> pd.DataFrame:
    """How often held-out losses lie within their prediction intervals, one row per fit.

    `coverage`: measured share, to be compared with `level`. `mean_width`: mean width of the
    intervals as a share of the prediction; `mean_width_of_law`: the same without residual noise.
    `drawn`: parameters that were drawn from their band, since the rows cannot identify them.
    """
    rows = []
    for one in contenders:
        predicted = predict_loss(one.record, one.held_out)
        low, high = prediction_interval(one.record, one.draws, one.held_out, level)
        inner = prediction_interval(one.record, one.draws, one.held_out, level, noise=False)
        rows.append(
            {
                "law": one.record.law,
                "protocol": one.record.protocol,
                "domain": one.record.domain,
                "level": level,
                "n_held_out": len(one.held_out),
                "coverage": coverage(one.held_out["loss"], low, high),
                "mean_width": float(np.mean((high - low) / predicted)),
                "mean_width_of_law": float(np.mean((inner[1] - inner[0]) / predicted)),
                "draws": len(one.draws.params),
                "drawn": " ".join(one.draws.drawn),
            }
        )
    return pd.DataFrame(rows)


def comparison_table(contenders: Sequence[Contender], level: float = LEVEL) -> pd.DataFrame:
    """Every pair of laws under the same protocol and domain, the one of lower MAErel first.

    `difference`: MAErel of `law` minus that of `other`, with its interval; `probability`: the share
    of draws in which `law` has the lower one (ties count half). Raises InputError for contenders
    whose draws were not made from the same resamples.
    """
    columns = ("protocol", "domain", "law", "other", "mae_rel", "other_mae_rel")
    columns += ("difference", "low", "high", "probability")
    groups: dict[tuple[str, str], list[Contender]] = {}
    for one in contenders:
        groups.setdefault((one.record.protocol, one.record.domain), []).append(one)
    rows = []
    for (protocol, domain), group in groups.items():
        ranked = sorted(group, key=_mae_rel)
        draws = {one.record.law: _mae_rel_draws(one) for one in ranked}
        for better, other in combinations(ranked, 2):
            _check_paired(better, other)
            gaps = draws[better.record.law] - draws[other.record.law]
            low, high = np.quantile(gaps, [(1 - level) / 2, (1 + level) / 2])
            ours, theirs = _mae_rel(better), _mae_rel(other)
            share = float(np.mean(gaps < 0) + 0.5 * np.mean(gaps == 0))
            labels = (protocol, domain, better.record.law, other.record.law)
            rows.append((*labels, ours, theirs, ours - theirs, low, high, share))
    return pd.DataFrame(rows, columns=list(columns))


def _mae_rel(one: Contender) -> float:
    observed = one.held_out["loss"].to_numpy(float)
    return score(observed, predict_loss(one.record, one.held_out))["mae_rel"]


def _mae_rel_draws(one: Contender) -> np.ndarray:
    return score_draws(one.record, one.draws, one.held_out)["mae_rel"].to_numpy()


def _check_paired(a: Contender, b: Contender) -> None:
    same = a.draws.resamples == b.draws.resamples and a.draws.seed == b.draws.seed
    if not same or not np.array_equal(a.held_out["loss"], b.held_out["loss"]):
        raise InputError(
            f"comparison of {a.record.law} and {b.record.law} ({a.record.protocol}, "
            f"{a.record.domain}): their draws are not of the same resamples; accepted are "
            "bootstraps of equal rows, number of draws and seed"
        )


def _labelled(record: Fit, table: pd.DataFrame) -> pd.DataFrame:
    labels = {"law": record.law, "protocol": record.protocol, "domain": record.domain}
    return table.assign(**labels)[[*labels, *table.columns]]
