"""The interactive planner: one HTML file that needs no server and no network.

The page holds the fitted laws, their bootstrap draws and the formulas
(`ptpp.report.planner.formula`), and evaluates them itself. Everything in it is embedded: its own style and scripts, which stand
beside this module, and the plotting library, from the installed package.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from mpld3.urls import D3_LOCAL

from ptpp.errors import InputError
from ptpp.laws.declared import law_of
from ptpp.laws.law import Law
from ptpp.laws.record import Fit
from ptpp.laws.uncertainty import Draws
from ptpp.planning import PlanRequest
from ptpp.planning.forecast import paired_rows
from ptpp.report.planner.formula import javascript

PARTS = Path(__file__).parent
# Bytes. Snakemake's report shows a page by a data URL, of which Chromium opens 2 MiB in base64.
REPORT_LIMIT = 1_500_000
Fitted = tuple[Fit, Draws]


def planner_page(request: PlanRequest, fits: Sequence[Fitted], headline: tuple[str, str]) -> str:
    """The page's HTML: what is asked for at first, and every law one may choose in it.

    `fits`: target fits and forgetting fits, of any protocols, each with its draws. `headline`: the
    law and protocol shown first. Raises InputError where the headline is not among the fits, where
    draws do not belong to their fit, or where a law needs a base loss that the request lacks.
    """
    laws = {record.law: law_of(record) for record, _ in fits}
    for record, draws in fits:
        _check(record, draws, laws[record.law], request)
    targets = [(r.law, r.protocol) for r, _ in fits if not laws[r.law].offset]
    if tuple(headline) not in targets:
        found = ", ".join(f"{law} {protocol}" for law, protocol in targets) or "none"
        raise InputError(
            f"plan: no fit of the law {headline[0]!r} under {headline[1]!r}; there are {found}"
        )
    forgetting = [fitted for fitted in fits if laws[fitted[0].law].offset]
    data = {
        "request": {
            "n_params": request.n_params,
            "ptpp": request.ptpp,
            "base_loss": request.base_loss,
            "target": request.target_loss,
            "within": request.target_within,
            "forgetting": dict(request.forgetting_limits),
            "min_atpp": request.min_atpp,
            "max_atpp": request.max_atpp,
            "max_flops": request.max_flops,
            "min_replay": request.min_replay,
            "max_replay": request.max_replay,
            "level": request.confidence,
        },
        "headline": ".".join(headline),
        "fits": [
            _embedded(record, draws, laws[record.law])
            | {"pairs": {} if laws[record.law].offset else _pairs(record, draws, forgetting)}
            for record, draws in fits
        ],
    }
    formulas = ",\n".join(f"{json.dumps(name)}: {javascript(law)}" for name, law in laws.items())
    template = Environment(undefined=StrictUndefined, autoescape=False).from_string(
        _part("page.html")
    )
    return template.render(
        style=_part("page.css"),
        library=Path(D3_LOCAL).read_text(encoding="utf-8"),
        data=_inert(json.dumps(data, allow_nan=False)),
        formulas=f"const FORMULAS = {{\n{formulas}\n}};",
        search=_part("search.js"),
        drawing=_part("draw.js"),
        script=_part("page.js"),
    )


def _embedded(record: Fit, draws: Draws, law: Law) -> dict:
    return {
        "law": record.law,
        "title": law.title,
        "equation": law.equation,
        "protocol": record.protocol,
        "domain": record.domain,
        "forgets": law.offset is not None,
        "names": law.names,
        "params": [record.params[name] for name in law.names],
        "reference": dict(record.reference),
        "ranges": {name: list(pair) for name, pair in record.ranges.items()},
        "at_bounds": list(record.at_bounds),
        "warnings": list(record.warnings),
        "drawn": list(draws.drawn),
        "draws": draws.params.tolist(),
    }


def _check(record: Fit, draws: Draws, law: Law, request: PlanRequest) -> None:
    where = f"law {record.law}, {record.protocol}, {record.domain}"
    if draws.names != law.names:
        raise InputError(
            f"{where}: the draws are of the parameters {', '.join(draws.names)}; accepted are "
            f"draws of {', '.join(law.names)}"
        )
    if not len(draws.params):
        raise InputError(f"{where}: no draws; accepted is 1 or more")
    if "base_loss" in law.inputs and request.base_loss is None:
        raise InputError(f"{where}: it reads base_loss; state plan.base_loss or leave the law out")


def _pairs(record: Fit, draws: Draws, forgetting: Sequence[Fitted]) -> dict[str, list[int]]:
    """For a target fit: the rows of each domain's forgetting draws that go with its own."""
    others = {r.domain: d for r, d in forgetting if r.protocol == record.protocol}
    rows = paired_rows([draws, *others.values()])[1:]
    return dict(zip(others, rows, strict=True))


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


def _inert(text: str) -> str:
    """JSON that cannot end the script element it stands in."""
    return text.replace("<", "\\u003c")
