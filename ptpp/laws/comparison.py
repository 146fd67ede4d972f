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
from ptpp.laws.fitted import ENDS, LEVEL, FittedLaw
from ptpp.laws.levels import forecasts_of, made_forecasts
from ptpp.laws.scoring import score
from ptpp.laws.uncertainty import resample_counts

_HELD_OUT_STREAM = 2  # keeps the resamples of held-out rows apart from those of the fit's rows


def score_draws(fitted: FittedLaw, held_out: pd.DataFrame, forecast: str = "law") -> pd.DataFrame:
    """The scores of every draw (m, scores), each on its own resample of the held-out runs.

    By the draw's refit of the law; a kriged forecast is not refitted.
    """
    observed = held_out["loss"].to_numpy(float)
    seed, count = fitted.draws.seed + _HELD_OUT_STREAM, len(fitted.draws.params)
    if forecast == "kriged":
        predicted = np.broadcast_to(fitted.loss(held_out, kriged=True), (count, len(observed)))
    else:
        predicted = fitted.loss_draws(held_out)
    counts = resample_counts(held_out, count, seed)
    return pd.DataFrame(
        [
            score(np.repeat(observed, times), np.repeat(values, times))
            for values, times in zip(predicted, counts, strict=True)
        ]
    )


def score_intervals(fitted: FittedLaw, held_out: pd.DataFrame, forecast: str) -> pd.DataFrame:
    """Every score with its bootstrap interval: columns score, value, low, high."""
    draws = score_draws(fitted, held_out, forecast)
    ends = draws.quantile(ENDS).set_axis(["low", "high"]).T
    loss = fitted.loss(held_out, forecast == "kriged")
    values = pd.Series(score(held_out["loss"], loss))
    table = ends.assign(value=values).rename_axis("score").reset_index()
    return table[["score", "value", "low", "high"]]


def interval_table(fits: Sequence[FittedLaw], experiment: Experiment) -> pd.DataFrame:
    """`score_intervals` of every forecast, a row per law, protocol, domain, forecast and score."""
    parts = []
    for one in fits:
        held_out = experiment.split_of(one).held_out
        for name in made_forecasts(one):
            table = score_intervals(one, held_out, name)
            labels = {**one.label, "forecast": name}
            parts.append(table.assign(**labels)[[*labels, *table.columns]])
    return pd.concat(parts, ignore_index=True)


def coverage_table(fits: Sequence[FittedLaw], experiment: Experiment) -> pd.DataFrame:
    """How often held-out losses lie within their prediction intervals, one row per forecast.

    `coverage`: measured share, to be compared with `level`; `coverage_largest`: at the largest size
    alone. `mean_width`: mean width of the intervals as a share of the prediction. `drawn`:
    parameters that the bootstrap drew from their band, since the rows cannot identify them.
    """
    rows = []
    for one in fits:
        held_out = experiment.split_of(one).held_out
        largest = held_out["n_params"] == held_out["n_params"].max()
        for information, forecast, table in forecasts_of(one, held_out):
            inside = held_out["loss"].between(table["low"], table["high"])
            width = (table["high"] - table["low"]) / table["loss"]
            rows.append(
                {
                    **one.label,
                    "information": information,
                    "forecast": forecast,
                    "level": LEVEL,
                    "n_held_out": len(held_out),
                    "coverage": float(inside.mean()),
                    "coverage_largest": float(inside[largest].mean()),
                    "mean_width": float(width.mean()),
                    "drawn": " ".join(one.draws.drawn),
                }
            )
    return pd.DataFrame(rows)


def comparison_table(fits: Sequence[FittedLaw], experiment: Experiment) -> pd.DataFrame:
    """Every pair of laws with the same protocol, domain and forecast, that of lower MAErel first.

    `difference`: MAErel of `law` minus that of `other`, with its interval; `probability`: the share
    of draws in which `law` has the lower one (ties count half). Raises InputError for draws of
    different resamples.
    """
    columns = ("protocol", "domain", "forecast", "law", "other", "mae_rel", "other_mae_rel")
    columns += ("difference", "low", "high", "probability")
    groups: dict[tuple[str, str, str], list[tuple]] = {}
    for one in fits:
        rows = experiment.split_of(one).held_out
        for name in made_forecasts(one):
            loss = one.loss(rows, name == "kriged")
            drawn = score_draws(one, rows, name)["mae_rel"].to_numpy()
            entry = score(rows["loss"], loss)["mae_rel"], one, rows, drawn
            labels = one.record.protocol, one.record.domain, name
            groups.setdefault(labels, []).append(entry)
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
            names, ends = (one.record.law, two.record.law), np.quantile(gaps, ENDS)
            table.append((*labels, *names, mae, other_mae, mae - other_mae, *ends, share))
    return pd.DataFrame(table, columns=list(columns))
