"""`ptpp plan`: from a table of losses to plans, in words and as a table."""

from dataclasses import asdict
from typing import Any

import click

from ptpp.cli.laws import read_source
from ptpp.cli.options import (
    COUNT,
    FILE,
    LIMIT,
    POSITIVE,
    SHARE,
    TableOptions,
    fit_options,
    json_option,
    table_options,
)
from ptpp.cli.result import Result


@click.command()
@table_options
@click.option("--law", multiple=True, default=["gated_floor"], help="A law; may be repeated.")
@click.option("--n-params", type=POSITIVE, required=True, help="Parameters, such as 7B.")
@click.option("--ptpp", type=POSITIVE, required=True, help="Pre-training tokens per parameter.")
@fit_options
@click.option(
    "--goal",
    type=click.Choice(["least_compute", "least_loss", "pareto"]),
    default="least_compute",
    show_default=True,
    help="What is wanted.",
)
@click.option("--target-loss", type=POSITIVE, help="Most target loss, nats; or:")
@click.option("--target-within", type=POSITIVE, help="Most nats above the least reachable (0.05).")
@click.option(
    "--limit",
    type=LIMIT,
    multiple=True,
    metavar="DOMAIN=NATS",
    help="Most forgetting of a base domain, such as en=0.5; may be repeated.",
)
@click.option("--max-atpp", type=POSITIVE, help="Most tokens per parameter (the table's greatest).")
@click.option("--min-atpp", type=POSITIVE, help="Least tokens per parameter (the table's least).")
@click.option("--max-replay", type=SHARE, default=0.95, show_default=True, help="Most replay.")
@click.option("--max-flops", type=POSITIVE, help="Most compute of the adaptation.")
@click.option(
    "--confidence",
    type=SHARE,
    default=0.9,
    show_default=True,
    help="Share of draws in which a robust plan holds.",
)
@click.option("--base-loss", type=POSITIVE, help="The checkpoint's base loss, nats (measured).")
@click.option("--break-even", is_flag=True, help="Compare with training from scratch.")
@click.option(
    "--from-scratch",
    type=FILE,
    metavar="TABLE",
    help="The same by measured runs from scratch (CSV with n_params, adapt_tokens, loss).",
)
@click.option("--next", "measurements", type=COUNT, help="Name so many next measurements to buy.")
@click.option("--out", type=FILE, help="The plans as a table (CSV).")
@json_option
def plan(
    source: TableOptions,
    law: tuple[str, ...],
    held_out: float | None,
    anchors: int | None,
    starts: int,
    seed: int,
    bootstrap: int,
    goal: str,
    break_even: bool,
    from_scratch: str | None,
    measurements: int | None,
    out: str | None,
    as_json: bool,
    **wishes: Any,
) -> Result:
    """The best replay ratio and tokens per parameter within limits."""
    from ptpp.api.fits import FitOptions, fit_law
    from ptpp.api.plans import PlanOptions, fit_forgetting, make_plans, measured_range
    from ptpp.cli.text import describe_plans
    from ptpp.jobs.files import write_text
    from ptpp.planning.request import PlanRequest
    from ptpp.report.tables import to_csv

    if wishes["target_loss"] is not None and wishes["target_within"] is not None:
        raise click.UsageError("--target-within is not allowed with --target-loss")
    table = read_source(source, held_out=held_out)
    target, least, most = measured_range(table, source.target, source.path)
    limits = dict(wishes.pop("limit"))
    wishes["min_atpp"] = wishes["min_atpp"] or least
    wishes["max_atpp"] = wishes["max_atpp"] or most
    wishes["target_within"] = wishes["target_within"] or 0.05
    request = PlanRequest(forgetting_limits=limits, **wishes)
    options = FitOptions(held_out, anchors or 0, starts, bootstrap, seed)
    forgetting = fit_forgetting(table, list(limits), options, source.path)
    fits = [fit_law(table, name, target, options, source.path) for name in law]
    kinds = PlanOptions(goal, break_even, from_scratch, measurements or 0)
    plans = make_plans(fits, forgetting, request, kinds)
    lines = describe_plans(plans)
    if out:
        write_text(out, to_csv(plans.table))
        lines.append(f"written: {out}")
    return Result(lines, {**_values(plans), "files": [out] if out else []}, as_json)


def _values(plans: Any) -> dict[str, Any]:
    """The plans as an object; every list has an entry per plan, limit, comparison or cell."""
    relaxations, break_even, cells = [], [], []
    for one in plans.laws:
        law = {"law": one.fit.fitted.law.name}
        limits = one.plans.relaxations() if one.plans else {}
        relaxations += [{**law, "kind": k, **vars(r)} for k, each in limits.items() for r in each]
        for comparison in one.break_even:
            note = isinstance(comparison, str)
            break_even.append({**law, **({"note": comparison} if note else asdict(comparison))})
        if one.measurements is not None:
            cells += one.measurements.to_dict("records")
    return {
        "plans": plans.table.to_dict("records"),
        "extrapolated": sorted({name for one in plans.laws for name in one.extrapolated}),
        "relaxations": relaxations,
        "break_even": break_even,
        "next_measurements": cells,
        "warnings": [line for one in plans.laws for line in one.fit.warnings],
    }
