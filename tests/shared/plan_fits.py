"""Fits and draws that were not fitted: the planner reads laws, parameters and ranges alone."""

from dataclasses import replace

import numpy as np
from laws_grid import FORGETTING_PARAMS, REFERENCE, TARGET_PARAMS

from ptpp.laws import Draws, Fit, FittedLaw, find_law
from ptpp.planning import PlanRequest

N = 87360.0
FLOOR = 0.05  # the least replay that the forgetting laws speak of
L0 = 3.1  # the checkpoint's loss before adaptation, nats
RANGES = {
    "n_params": (1e3, 1e6),
    "ptpp": (15, 279),
    "adapt_tokens": (1e3, 1e8),
    "share": (0.5, 1.0),
    "replay": (FLOOR, 1.0),
    "atpp": (1.0, 16.0),
    "zero_shot_loss": (2.0, 5.0),
}


def fit_by(law, params, domain="", ranges=RANGES):
    """A point fit with known parameters, by a law or the name of one of the zoo."""
    law = find_law(law)
    record = Fit(
        law=law.name,
        protocol="with_anchors",
        domain=domain,
        params={name: params[name] for name in law.names},
        fixed=(),
        reference=REFERENCE,
        at_bounds=(),
        objective=0.0,
        n_rows=1,
        share_1e6=1.0,
        share_1e3=1.0,
        converged=True,
        ranges={name: ranges[name] for name in law.inputs},
        warnings=(),
        settings={"delta": 1e-3},
        data_sha256="0" * 64,
        versions={},
        declaration=law.declaration,
    )
    return FittedLaw(record, law=law)


def with_record(fitted, **changes):
    """A fit whose record differs in some fields."""
    return replace(fitted, record=replace(fitted.record, **changes))


def with_draws(fit, shifts, resamples="a", residuals=(0.01, -0.01)):
    """Draws that add `shifts`, parameter -> (m,), to the fit's parameters."""
    params = np.repeat(fit.params, len(next(iter(shifts.values()))), axis=0)
    for name, values in shifts.items():
        params[:, fit.law.names.index(name)] += values
    return drawn(fit, params, resamples, residuals)


def drawn(fit, params, resamples, residuals):
    """A fit with draws of these parameters (m, p)."""
    draws = Draws(
        names=fit.law.names,
        params=params,
        objectives=np.zeros(len(params)),
        residuals=np.array(residuals),
        drawn=(),
        band_name="",
        band=np.empty(0),
        band_params=np.empty((0, params.shape[1])),
        resamples=resamples,
        seed=0,
    )
    return replace(fit, draws=draws)


TARGET = fit_by("gated_floor", TARGET_PARAMS)
FORGETTING = fit_by("forgetting", FORGETTING_PARAMS)
# Damage k A/A0 (1 - r), and nothing else: no re-warming, no gain.
LINEAR_PARAMS = {**FORGETTING_PARAMS, "S": 1.0, "gamma": -1, "b": -1, "W": 0, "w": 0, "V": 0}
LINEAR = fit_by("forgetting", LINEAR_PARAMS)
# Loss E + A' + B (s/s0)^eta (D/D0)^-beta.
SIMPLE_PARAMS = {**TARGET_PARAMS, "S": 1e-12, "eta": -0.1}
SIMPLE = fit_by("dcpt", SIMPLE_PARAMS)


def request(**changes):
    defaults = {"n_params": N, "ptpp": 279.0, "forgetting_limits": {"en": 0.1}, "max_atpp": 16.0}
    defaults |= {"zero_shot_losses": {"en": L0, "ar": L0}, "replay_floor": FLOOR}
    return PlanRequest(**{**defaults, "target_within": 0.05, **changes})


def simple_loss(replay, atpp):
    p, ref = SIMPLE_PARAMS, REFERENCE
    data = p["B"] * ((1 - replay) / ref["share"]) ** p["eta"]
    data = data * (atpp * N / ref["adapt_tokens"]) ** -p["beta"]
    return p["E"] + p["A"] * (N / ref["n_params"]) ** -p["alpha"] + data


def simple_forgetting(replay, atpp):
    p, ref = LINEAR_PARAMS, REFERENCE
    scale = p["S"] * (N / ref["n_params"]) ** -p["d"]
    scale = scale * np.exp(-p["q"] * (L0 - ref["zero_shot_loss"]))
    return scale * (1 - replay) * atpp / ref["atpp"]
