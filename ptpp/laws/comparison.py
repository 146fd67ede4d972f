"""How much a score is worth: bootstrap intervals, and whether one law beats another.

A draw's score takes that draw's refit and that draw's resample of the held-out runs, so its spread
holds both what the fit could have been and what the test could have been. Laws fitted and scored on
the same rows share their resamples and are compared draw by draw (paired bootstrap).
"""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.laws.experiment import Experiment
from ptpp.laws.fitted import LEVEL, FittedLaw, ends_of
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
    ends = score_draws(fitted, held_out).quantile(ends_of(level)).set_axis(["low", "high"]).T
    table = ends.assign(value=pd.Series(fitted.score(held_out))).rename_axis("score").reset_index()
    return table[["score", "value", "low", "high"]]


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
        widths = {
            "mean_width": float(np.mean((high - low) / predicted)),
            "mean_width_of_law": float(np.mean((inner[1] - inner[0]) / predicted)),
        }
        share = {"level": level, "n_held_out": len(held_out)}
        share["coverage"] = coverage(held_out["loss"], low, high)
        drawn = {"draws": len(one.draws.params), "drawn": " ".join(one.draws.drawn)}
        rows.append({**one.label, **share, **widths, **drawn})
    return pd.DataFrame(rows)


def comparison_table(
    fits: Sequence[FittedLaw], experiment: Experiment, level: float = LEVEL
) -> pd.DataFrame:
    """Every pair of laws under the same protocol and domain, the one of lower MAErel first.

    `difference`: MAErel of `law` minus that of `other`, with its interval; `probability`: the share
    of draws in which `law` has the lower one (ties count half). Raises InputError for draws of
    different resamples.
    """
    columns = ("protocol", "domain", "law", "other", "mae_rel", "other_mae_rel")
    columns += ("difference", "low", "high", "probability")
    groups: dict[tuple[str, str], list[tuple]] = {}
    for one in fits:
        rows = experiment.split_of(one).held_out
        entry = one.score(rows)["mae_rel"], one, rows, score_draws(one, rows)["mae_rel"].to_numpy()
        groups.setdefault((one.record.protocol, one.record.domain), []).append(entry)
    table = []
    for labels, group in groups.items():
        for better, other in combinations(sorted(group, key=lambda entry: entry[0]), 2):
            (mae, one, rows, drawn), (other_mae, two, other_rows, other_drawn) = better, other
            paired = (one.draws.resamples, one.draws.seed) == (two.draws.resamples, two.draws.seed)
            if not paired or not np.array_equal(rows["loss"], other_rows["loss"]):
                raise InputError(
                    f"comparison of {one.record.law} and {two.record.law} ({', '.join(labels)}): "
                    "their draws are not of the same resamples; accepted are bootstraps of equal "
                    "rows, number of draws and seed"
                )
            gaps = drawn - other_drawn
            share = float(np.mean(gaps < 0) + 0.5 * np.mean(gaps == 0))
            names, ends = (one.record.law, two.record.law), np.quantile(gaps, ends_of(level))
            table.append((*labels, *names, mae, other_mae, mae - other_mae, *ends, share))
    return pd.DataFrame(table, columns=list(columns))
