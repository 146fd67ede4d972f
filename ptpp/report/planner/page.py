"""The interactive planner: one HTML file that needs no server and no network.

The page holds the fitted laws, their bootstrap draws and the formulas, and evaluates them itself.
Its style and scripts, which stand beside this module, and the plotting library are embedded.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from mpld3.urls import D3_LOCAL

from ptpp.errors import InputError
from ptpp.laws.base_loss import NEAR, BaseLosses
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.forms import get_law
from ptpp.planning import FLOPS_PER_PARAMETER_AND_TOKEN, PlanRequest, forgetting_fits, search
from ptpp.planning.forecast import pair_rows
from ptpp.planning.request import ATPP_RANGE, complete_request, losses_before, stated_loss
from ptpp.report.planner.formula import javascript

PARTS = Path(__file__).parent
_FILES = {"page": "page.html", "style": "page.css", "search": "search.js"}
_FILES |= {"drawing": "draw.js", "script": "page.js"}
# Bytes. Snakemake's report shows a page by a data URL, of which Chromium opens 2 MiB in base64.
REPORT_LIMIT = 1_500_000
# The definitions of Python's planner under the names that the page's scripts use. Its meshes are
# smaller than Python's, so that a slider stays quick.
CONSTANTS = {
    **{name: getattr(search, name) for name in ("TOLERANCE", "BINDING", "EDGE", "BROKEN")},
    "ATPP_RANGE": ATPP_RANGE,
    "FLOPS_PER_PARAMETER_AND_TOKEN": FLOPS_PER_PARAMETER_AND_TOKEN,
    "FINE": vars(search.Mesh(points=64, zoom=13, rounds=8)),
    "COARSE": vars(search.Mesh(points=24, zoom=9, rounds=5)),
}
# What the page's scripts know of a request, and where its fields have longer names.
_REQUEST_KEYS = (
    *("n_params", "ptpp", "target", "within", "forgetting", "min_atpp", "max_atpp", "max_flops"),
    *("min_replay", "max_replay", "replay_floor", "replay_reason", "level"),
)
_REQUEST = {"target": "target_loss", "within": "target_within", "level": "confidence"}
_REQUEST |= {"forgetting": "forgetting_limits"}


def planner_page(
    request: PlanRequest,
    fits: Sequence[FittedLaw],
    headline: tuple[str, str],
    base_losses: BaseLosses | None = None,
) -> str:
    """The page's HTML: the configured request, and every law one may choose in it.

    `fits`: target fits and forgetting fits, of any protocols, each with its draws. `headline`: the
    law and protocol shown first. `base_losses`: for laws that read losses before adaptation, where
    the request does not state them. Laws of forgetting without replay are not shown, since plans
    leave replay 0 out. Raises InputError where the headline is not among the fits, a fit has no
    draws, or a loss before adaptation is missing.
    """
    fits = [one for one in fits if one.law.rows != "without_replay"]
    for one in fits:
        _check(one, request, base_losses)
    targets = [(one.record.law, one.record.protocol) for one in fits if not one.law.offset]
    if tuple(headline) not in targets:
        names = ", ".join(f"{law} {protocol}" for law, protocol in targets) or "none"
        raise InputError(
            f"plan: no fit of the law {headline[0]!r} under {headline[1]!r}; there are {names}"
        )
    full = request if base_losses is None else complete_request(request, fits, base_losses)
    losses = {name: None for one in fits for name in _losses_read(one)}
    if base_losses is not None:
        losses = losses_before(fits, base_losses)
    data = {
        "request": {key: getattr(full, _REQUEST.get(key, key)) for key in _REQUEST_KEYS},
        "losses": {name: _embed_losses(request, name, each) for name, each in losses.items()},
        "headline": ".".join(headline),
        "fits": [_embed(one) | {"pairs": _pairs(one, fits)} for one in fits],
    }
    laws = {one.law.name: one.law for one in fits}
    if losses:
        laws["tied"] = get_law("tied")
    formulas = ",\n".join(f"{json.dumps(name)}: {javascript(law)}" for name, law in laws.items())
    constants = [f"const {name} = {json.dumps(value)};" for name, value in CONSTANTS.items()]
    paths = {"library": Path(D3_LOCAL)} | {key: PARTS / name for key, name in _FILES.items()}
    texts = {key: path.read_text(encoding="utf-8") for key, path in paths.items()}
    environment = Environment(undefined=StrictUndefined, autoescape=False)
    return environment.from_string(texts.pop("page")).render(
        # JSON that cannot end the script element it stands in.
        data=json.dumps(data, allow_nan=False).replace("<", "\\u003c"),
        formulas="\n".join([*constants, f"const FORMULAS = {{\n{formulas}\n}};"]),
        **texts,
    )


def _embed(fitted: FittedLaw) -> dict:
    record, law = fitted.record, fitted.law
    return {
        **fitted.label,
        "title": law.title,
        "equation": law.equation,
        "forgets": law.offset is not None,
        "names": law.names,
        "params": fitted.params[0].tolist(),
        "reference": record.reference,
        "ranges": record.ranges,
        "at_bounds": record.at_bounds,
        "warnings": record.warnings,
        "drawn": fitted.draws.drawn,
        "draws": fitted.draws.params.tolist(),
    }


def _losses_read(fitted: FittedLaw) -> list[str]:
    """The losses before adaptation that a fit reads, by the names of `losses_before`."""
    inputs, domain = fitted.law.inputs, fitted.record.domain
    names = {"base_loss": "base_loss", "zero_shot_loss": f"zero_shot_{domain}"}
    return [name for column, name in names.items() if column in inputs]


def _embed_losses(request: PlanRequest, name: str, losses: BaseLosses | None) -> dict:
    """What the page needs to know a loss before adaptation, wherever its sliders stand."""
    given = stated_loss(request, name)
    embedded = {"given": given, "measured": [], "forecast": None, "near": NEAR}
    if losses is None:
        return embedded
    columns, forecast = ["n_params", "ptpp", "base_loss"], losses.forecast
    params, reference = forecast.params[0].tolist(), forecast.record.reference
    return embedded | {
        "measured": losses.measured[columns].to_numpy().tolist(),
        "forecast": {"law": forecast.law.name, "params": params, "reference": reference},
    }


def _check(fitted: FittedLaw, request: PlanRequest, base_losses: BaseLosses | None) -> None:
    where = ", ".join(["law " + fitted.record.law, *list(fitted.label.values())[1:]])
    if fitted.draws is None or not len(fitted.draws.params):
        raise InputError(f"{where}: no draws; accepted is 1 or more")
    for name in _losses_read(fitted) if base_losses is None else ():
        if stated_loss(request, name) is None:
            key = name.replace("zero_shot_", "zero_shot_losses.")
            raise InputError(
                f"{where}: plan.{key}: the law reads the checkpoint's loss before adaptation; "
                "accepted is a number of nats"
            )


def _pairs(fitted: FittedLaw, fits: Sequence[FittedLaw]) -> dict[str, list[int]]:
    """For a target fit: the rows of each domain's forgetting draws that go with its own."""
    if fitted.law.offset:
        return {}
    others = forgetting_fits(fits, fitted.record.protocol)
    rows = pair_rows([fitted.draws, *(one.draws for one in others.values())])[1:]
    return dict(zip(others, rows, strict=True))
