"""The interactive planner: one HTML file that needs no server and no network.

The page holds the fitted laws, their bootstrap draws and the formulas, and evaluates them itself.
Its style and scripts, which stand beside this module, and the plotting library are embedded.
"""

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jinja2 import Environment, StrictUndefined
from mpld3.urls import D3_LOCAL
from numpy.typing import ArrayLike

from ptpp.cost.devices import DEVICES
from ptpp.errors import InputError
from ptpp.laws.base_loss import NEAR, BaseLosses
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.forms import get_law
from ptpp.laws.kriging import LEAST_MIX
from ptpp.planning import FLOPS_PER_PARAMETER_AND_TOKEN, PlanRequest, forgetting_fits, search
from ptpp.planning import forecast as forecasting
from ptpp.planning.forecast import pair_rows, robust_draws
from ptpp.planning.request import ATPP_RANGE, complete_request, losses_before, stated_loss
from ptpp.report.names import law_name
from ptpp.report.planner.formula import javascript
from ptpp.table.kinds import CELL, target_rows

PARTS = Path(__file__).parent
_FILES = {"page": "page.html", "style": "page.css", "search": "search.js", "kriging": "krige.js"}
_FILES |= {"drawing": "draw.js", "script": "page.js"}
# Bytes. Snakemake's report shows a page by a data URL, of which Chromium opens 2 MiB in base64.
REPORT_LIMIT = 1_500_000
# The definitions of Python's planner under the names that the page's scripts use.
CONSTANTS = {
    **{name: getattr(search, name) for name in ("TOLERANCE", "BINDING", "EDGE", "BROKEN")},
    **{n: getattr(forecasting, n) for n in ("BASE_STEP", "KNOTS", "NARROW", "NO_LOSS", "STRETCH")},
    "ATPP_RANGE": ATPP_RANGE,
    "FLOPS_PER_PARAMETER_AND_TOKEN": FLOPS_PER_PARAMETER_AND_TOKEN,
    "FINE": vars(search.Mesh()),
    "COARSE": vars(search.COARSE),
    "OF_DRAWS": vars(search.OF_DRAWS),
    "GPU_FLOPS": DEVICES["h100"].peak * DEVICES["h100"].utilisation,
}
# What the page's scripts know of a request, and where its fields have longer names.
_REQUEST_KEYS = (
    *("n_params", "ptpp", "target", "within", "forgetting", "min_atpp", "max_atpp", "max_flops"),
    *("max_replay", "replay_floor", "replay_reason", "level"),
)
_REQUEST = {"target": "target_loss", "within": "target_within", "level": "confidence"}
_REQUEST |= {"forgetting": "forgetting_limits"}


def planner_page(
    request: PlanRequest,
    fits: Sequence[FittedLaw],
    headline: tuple[str, str],
    base_losses: BaseLosses,
    scores: pd.DataFrame,
) -> str:
    """The page's HTML: the configured request, and every law one may choose in it.

    `fits`: target fits and forgetting fits, of any protocols, each with its draws. `headline`: the
    law and protocol shown first. `base_losses`: for laws that read losses before adaptation, where
    the request does not state them, and for the measured cells shown. `scores`: held-out errors, as
    by `laws.experiment.score_table`, to stand beside the laws' names. Laws of forgetting without
    replay are not shown, since plans leave replay 0 out. Raises InputError where the headline is
    not among the fits, a fit has no draws, or a loss before adaptation cannot be forecast.
    """
    fits = [one for one in fits if one.law.rows != "without_replay"]
    for one in fits:
        if one.misfit is None:
            one.need_draws()
    targets = [(one.record.law, one.record.protocol) for one in fits if not one.law.offset]
    if tuple(headline) not in targets:
        names = ", ".join(f"{law} {protocol}" for law, protocol in targets) or "none"
        raise InputError(
            f"plan: no fit of the law {headline[0]!r} under {headline[1]!r}; there are {names}"
        )
    full, losses = complete_request(request, fits, base_losses), losses_before(fits, base_losses)
    data = {
        "request": {key: getattr(full, _REQUEST.get(key, key)) for key in _REQUEST_KEYS},
        "losses": {name: _embed_losses(request, name, each) for name, each in losses.items()},
        "headline": ".".join(headline),
        **_deviates(fits),
        "cells": _cells(fits, base_losses),
        "fits": [_embed(one, scores) | {"pairs": _pairs(one, fits)} for one in fits],
    }
    laws = {one.law.name: one.law for one in fits}
    if losses:
        laws["tied"] = get_law("tied")
    kriged = {one.law.name: one.law for one in fits if one.misfit is not None}
    kriged |= {"tied": laws["tied"]} if losses else {}
    scripts = [f"const {name} = {json.dumps(value)};" for name, value in CONSTANTS.items()]
    for name, each, slopes in (("FORMULAS", laws, False), ("SLOPES", kriged, True)):
        lines = [f"{json.dumps(key)}: {javascript(law, slopes)}" for key, law in each.items()]
        scripts.append(f"const {name} = {{\n" + ",\n".join(lines) + "\n};")
    paths = {"library": Path(D3_LOCAL)} | {key: PARTS / name for key, name in _FILES.items()}
    texts = {key: path.read_text(encoding="utf-8") for key, path in paths.items()}
    environment = Environment(undefined=StrictUndefined, autoescape=False)
    return environment.from_string(texts.pop("page")).render(
        # JSON that cannot end the script element it stands in.
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        formulas="\n".join(scripts),
        **texts,
    )


def _embed(fitted: FittedLaw, scores: pd.DataFrame) -> dict:
    record, law, error = fitted.record, fitted.law, _error(fitted, scores)
    called = law_name(law.name)
    return {
        **fitted.label,
        "title": law.title,
        "called": called if error is None else f"{called}, error {100 * error:.2g} %",
        "error": error,
        "equation": law.equation,
        "forgets": law.offset is not None,
        "params": fitted.params[0].tolist(),
        "reference": record.reference,
        "ranges": record.ranges,
        "at_bounds": record.at_bounds,
        "drawn": fitted.draws.drawn if fitted.misfit is None else (),
        "draws": fitted.draws.params.tolist() if fitted.misfit is None else None,
        "misfit": None if fitted.misfit is None else _embed_misfit(fitted),
    }


def _error(fitted: FittedLaw, scores: pd.DataFrame) -> float | None:
    """The law's mean relative error on held-out cells: the best that its forecasts reach without
    anchors.
    """
    kind = "law" if fitted.misfit is None else "kriged"
    same = (scores["law"] == fitted.record.law) & (scores["domain"] == fitted.record.domain)
    early = scores["protocol"] == "early_to_late"
    errors = scores[same & early & (scores["forecast"] == kind)]["mae_rel"].dropna()
    return float(errors.min()) if len(errors) else None


def _cells(fits: Sequence[FittedLaw], base_losses: BaseLosses) -> list[list[float]]:
    """Measured cells of the target domain: N, PTPP, replay, ATPP and loss."""
    domain = next(one.record.domain for one in fits if not one.law.offset)
    if not set(CELL) <= set(base_losses.observations):
        return []
    rows = target_rows(base_losses.observations, domain)
    return rows[["n_params", "ptpp", "replay", "atpp", "loss"]].to_numpy(float).tolist()


def _embed_misfit(fitted: FittedLaw) -> dict:
    """What the page needs to krige a fit's forecasts, long arrays packed."""
    law, misfit = fitted.law, fitted.misfit
    groups = {
        name: np.unique(texts, return_inverse=True)[1] if name != "size" else texts.astype(float)
        for name, texts in misfit.cells.groups.items()
    }
    return {
        "lengths": dict(misfit.kernel.lengths),
        "terms": [vars(term) for term in misfit.kernel.terms],
        "tau": misfit.tau,
        "drift": misfit.drift,
        "largest": misfit.largest if np.isfinite(misfit.largest) else None,
        "last_stage": misfit.last_stage,
        "noise": misfit.kernel.noise,
        "least_mix": LEAST_MIX,
        "reads": law.offset or ("base_loss" if "base_loss" in law.inputs else "ptpp"),
        "offset": law.offset is not None,
        "prior": misfit.prior.tolist(),
        "coordinates": {name: _pack(each) for name, each in misfit.cells.coordinates.items()},
        "groups": {name: _pack(each) for name, each in groups.items()},
        "runs": _pack(misfit.cells.runs),
        "weights": _pack(misfit.weights),
        "slopes": _pack(misfit.slopes),
    }


def _pack(numbers: ArrayLike) -> str:
    """Doubles, row by row, in base64: half as long as digits."""
    return base64.b64encode(np.ascontiguousarray(numbers, "<f8").tobytes()).decode()


def _deviates(fits: Sequence[FittedLaw]) -> dict:
    """`draws`: how many a plan by kriged laws alone has. `deviates`: by how many draws a plan has,
    those of a kriged law at each place among its laws.
    """
    kriged = [one for one in fits if one.misfit is not None][:1]
    if not kriged:
        return {"draws": 0, "deviates": {}}
    places = kriged * (1 + len({one.record.domain for one in fits if one.law.offset}))
    drawn = [[one] for one in fits if one.misfit is None]
    every = [robust_draws([*places, *one])[: len(places)] for one in ([], *drawn)]
    deviates = {len(one[0]): [each.tolist() for each in one] for one in every}
    return {"draws": len(every[0][0]), "deviates": deviates}


def _embed_losses(request: PlanRequest, name: str, losses: BaseLosses) -> dict:
    """What the page needs to know a loss before adaptation, wherever its sliders stand."""
    columns, forecast = ["n_params", "ptpp", "base_loss"], losses.forecast
    params, reference = forecast.params[0].tolist(), forecast.record.reference
    return {
        "given": stated_loss(request, name),
        "near": NEAR,
        "measured": losses.measured[columns].to_numpy().tolist(),
        "forecast": {"law": forecast.law.name, "params": params, "reference": reference},
        "misfit": None if losses.kriged is None else _embed_misfit(losses.kriged),
    }


def _pairs(fitted: FittedLaw, fits: Sequence[FittedLaw]) -> dict[str, list[int]]:
    """For a target fit: the rows of its draws, under "", and of each domain's forgetting draws that
    go together; those of kriged laws are none.
    """
    if fitted.law.offset:
        return {}
    laws = {"": fitted, **forgetting_fits(fits, fitted.record.protocol)}
    drawn = {domain: one.draws for domain, one in laws.items() if one.misfit is None}
    return dict(zip(drawn, pair_rows(list(drawn.values())), strict=True)) if drawn else {}
