"""`ptpp plan`: from a table of losses to plans, in words and as a table."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import ptpp
from ptpp.cli.options import (
    COUNT,
    FILE,
    LIMIT,
    POSITIVE,
    SHARE,
    TOKENS,
    Result,
    Source,
    add_options,
    fit_options,
    json_option,
    table_options,
)

if TYPE_CHECKING:
    from ptpp.planning.from_table import Plans

GOALS = click.Choice(["least_compute", "least_loss", "pareto"])


@click.command()
@table_options
@add_options(
    click.option(
        "--law",
        multiple=True,
        help="A law; may be repeated (state, where the table has base losses, else gated_floor).",
    ),
    click.option("--n-params", type=TOKENS, required=True, help="Parameters, such as 7B."),
    click.option("--ptpp", type=POSITIVE, required=True, help="Pre-training tokens per parameter."),
    fit_options,
    click.option("--goal", type=GOALS, help="What is wanted (least_compute)."),
    click.option("--target-loss", type=POSITIVE, help="Most target loss, nats; or:"),
    click.option("--target-within", type=POSITIVE, help="Most nats above the least (0.05)."),
    click.option(
        "--limit",
        type=LIMIT,
        multiple=True,
        metavar="DOMAIN=NATS",
        help="Most forgetting of a base domain, such as en=0.5; may be repeated.",
    ),
    click.option("--max-atpp", type=POSITIVE, help="Most tokens per parameter (the table's most)."),
    click.option("--min-atpp", type=POSITIVE, help="Least of them (the table's least)."),
    click.option("--max-replay", type=SHARE, help="Most replay (0.95)."),
    click.option("--max-flops", type=TOKENS, help="Most compute of the adaptation."),
    click.option(
        "--confidence", type=SHARE, help="Share of draws that a robust plan holds in (0.9)."
    ),
    click.option("--base-loss", type=POSITIVE, help="The checkpoint's base loss, nats (measured)."),
    click.option("--break-even", is_flag=True, help="Compare with training from scratch."),
    click.option(
        "--from-scratch",
        type=FILE,
        metavar="TABLE",
        help="The same by measured runs from scratch (CSV with n_params, adapt_tokens, loss).",
    ),
    click.option("--next", "measurements", type=COUNT, help="Name so many next measurements."),
    click.option("--out", type=FILE, help="The plans as a table (CSV)."),
    json_option,
)
def plan(source: Source, limit: tuple, out: str | None, as_json: bool, **wishes: Any) -> Result:
    """The best replay ratio and tokens per parameter within limits."""
    from ptpp.cli.text import describe_plans
    from ptpp.jobs.files import check_output, require_file
    from ptpp.report.tables import write_csv

    if wishes["target_loss"] is not None and wishes["target_within"] is not None:
        raise click.UsageError("--target-within is not allowed with --target-loss")
    wishes = {name: value for name, value in wishes.items() if value not in (None, ())}
    if out:
        inputs = [source.path, wishes.get("from_scratch", ""), *wishes.get("law", ())]
        check_output(out, inputs, _is_table_of_plans, "a table of plans")
    if "from_scratch" in wishes:
        require_file(wishes["from_scratch"])
    table = source.read(held_out=wishes.get("held_out"))
    plans = ptpp.plan(table, target=source.target, limits=dict(limit), **wishes)
    lines = describe_plans(plans)
    if out:
        write_csv(plans.table, out)
        lines.append(f"written: {out}")
    return Result(lines, {**_values(plans), "files": [out] if out else []}, as_json)


def _is_table_of_plans(path: Path) -> bool:
    """Whether a file begins as such tables do: with the columns of a plan, or of a front."""
    with path.open("rb") as stream:
        return stream.readline(100).startswith(b"law,protocol,")


def _values(plans: "Plans") -> dict[str, Any]:
    """The plans as an object; every list has an entry per plan, limit, comparison or cell."""
    relaxations, break_even, cells = [], [], []
    for one in plans.laws:
        law = {"law": one.fit.fitted.record.law}
        limits = one.plans.relaxations if one.plans else {}
        relaxations += [{**law, "kind": k, **vars(r)} for k, each in limits.items() for r in each]
        for result in one.break_even:
            break_even.append(
                law | ({"note": result} if isinstance(result, str) else asdict(result))
            )
        if one.measurements is not None:
            cells += one.measurements.to_dict("records")
    return {
        "plans": plans.table.to_dict("records"),
        "extrapolated": plans.extrapolated,
        "relaxations": relaxations,
        "break_even": break_even,
        "next_measurements": cells,
        "warnings": [line for one in plans.laws for line in one.fit.warnings],
    }
