"""Scores of predicted against observed losses."""

import numpy as np
from numpy.typing import ArrayLike

from ptpp.errors import InputError
from ptpp.laws.solver import huber

DELTA = 1e-3
SCORES = (
    *("huber_log", "mae_rel", "calibration_slope", "calibration_intercept"),
    *("rmse", "mape", "r2"),
)
PREDICTION_COLUMNS = (
    *("law", "protocol", "domain", "information", "forecast", "role"),
    *("size", "n_params", "ptpp", "replay", "atpp", "observed", "predicted"),
)


def score(observed: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """Scores of predicted losses (n,) against observed ones (n,), both nats per token.

    huber_log: mean of Huber(1e-3) of log predicted - log observed. mae_rel: sum |error| / sum
    observed. calibration_slope, calibration_intercept: least squares line of observed on predicted
    (1 and 0 are perfect; above 1 the law spreads its predictions too little). rmse: nats. mape:
    mean |error| / observed. r2: 1 - squared error / variance of the observed. Shares, not percent.
    A line or R2 that does not exist is NaN, and so is huber_log when a predicted loss is not
    positive.
    """
    y, y_hat = np.asarray(observed, float), np.asarray(predicted, float)
    if y.shape != y_hat.shape or y.ndim != 1 or not len(y):
        raise InputError(
            f"score: {y.shape} observed and {y_hat.shape} predicted; accepted are (n,)"
        )
    error = y_hat - y
    logs = np.log(y_hat / y) if (y_hat > 0).all() else np.full_like(y, np.nan)
    slope, intercept = _line(y_hat, y)
    spread = np.sum((y - y.mean()) ** 2)
    return {
        "huber_log": float(huber(logs, DELTA).mean()),
        "mae_rel": float(np.abs(error).sum() / y.sum()),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
        "rmse": float(np.sqrt(np.mean(error**2))),
        "mape": float(np.mean(np.abs(error) / y)),
        "r2": float(1 - np.sum(error**2) / spread) if spread > 0 else float("nan"),
    }


def _line(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the least squares line of y on x."""
    deviation = x - x.mean()
    spread = np.sum(deviation**2)
    # A spread of rounding errors is none.
    if spread <= (1e-12 * np.abs(x).max()) ** 2 * len(x):
        return float("nan"), float("nan")
    slope = float(np.sum(deviation * (y - y.mean())) / spread)
    return slope, float(y.mean() - slope * x.mean())
