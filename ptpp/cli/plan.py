"""`python -m ptpp plan`: from a table of losses to plans, in words and as a table."""

import argparse
from collections.abc import Mapping

import pandas as pd

from ptpp.cli.arguments import count, limit, positive, share
from ptpp.cli.plan_text import (
    told_break_even,
    told_extrapolation,
    told_front,
    told_measurements,
    told_plan,
    told_relaxations,
)
from ptpp.errors import InputError
from ptpp.jobs.files import write_text
from ptpp.laws.declared import find_law
from ptpp.laws.fitting import FitSettings, fit
from ptpp.laws.rows import law_rows
from ptpp.laws.uncertainty import bootstrap
from ptpp.planning.break_even import by_measurement, by_transfer, fitted_scratch, fitted_transfer
from ptpp.planning.forecast import Fitted
from ptpp.planning.front import pareto_front
from ptpp.planning.measurement import Seen, candidate_cells, next_measurements
from ptpp.planning.plans import (
    GOALS,
    make_plan,
    make_robust_plan,
    plan_table,
    relaxations,
    with_intervals,
)
from ptpp.planning.request import PlanRequest
from ptpp.report.tables import to_csv
from ptpp.table.anchors import choose_anchors, grid_of, measured_cells
from ptpp.table.kinds import is_sweep
from ptpp.table.observations import read_observations
from ptpp.table.protocols import Split, early_to_late, with_anchors

_DRAWS = 200


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `plan`."""
    parser.set_defaults(run=run)
    parser.add_argument("table", help="observations (CSV)")
    parser.add_argument("--target", help="the domain adapted to, where the table has several")
    parser.add_argument("--law", action="append", help="gated_floor, or another; may be repeated")
    parser.add_argument("--n-params", type=positive, required=True, help="parameters")
    parser.add_argument(
        "--ptpp", type=positive, required=True, help="pre-training tokens per parameter"
    )
    parser.add_argument("--held-out", type=positive, help="fit the stages before this PTPP alone")
    parser.add_argument(
        "--anchors", type=count, help="and so many small-scale cells of the held-out stage"
    )
    parser.add_argument(
        "--goal", choices=[*GOALS, "pareto"], default=GOALS[0], help=f"({GOALS[0]})"
    )
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--target-loss", type=positive, help="most target loss, nats")
    wanted.add_argument(
        "--target-within", type=positive, default=0.05,
        help="or: most nats above the least that is reachable (0.05)",
    )  # fmt: skip
    parser.add_argument(
        "--limit", type=limit, action="append", default=[], metavar="DOMAIN=NATS",
        help="most forgetting of a base domain, such as en=0.5; may be repeated",
    )  # fmt: skip
    parser.add_argument("--max-atpp", type=positive, help="(the table's greatest)")
    parser.add_argument("--min-atpp", type=positive, help="(the table's least)")
    parser.add_argument("--max-replay", type=share, default=0.95, help="(0.95)")
    parser.add_argument("--max-flops", type=positive, help="most compute of the adaptation")
    parser.add_argument(
        "--confidence", type=share, default=0.9, help="share of draws of a robust plan (0.9)"
    )
    parser.add_argument("--base-loss", type=positive, help="the checkpoint's base loss, nats")
    parser.add_argument("--starts", type=count, default=16, help="solver starts (16)")
    parser.add_argument("--seed", type=int, default=0, help="of starts, draws and anchors (0)")
    parser.add_argument(
        "--bootstrap", type=count, default=_DRAWS, help=f"bootstrap draws ({_DRAWS})"
    )
    parser.add_argument(
        "--break-even", action="store_true", help="compare the plan with training from scratch"
    )
    parser.add_argument(
        "--from-scratch", metavar="TABLE",
        help="the same, by measured runs from scratch (CSV with n_params, adapt_tokens, loss)",
    )  # fmt: skip
    parser.add_argument("--next", type=count, help="tell so many next measurements worth buying")
    parser.add_argument("--out", help="the plans as a table (CSV)")


def run(options: argparse.Namespace) -> list[str]:
    """`plan`: the best replay ratio and ATPP by each law; the table is written where asked."""
    table = read_observations(options.table, options.held_out, options.target)
    sweep = table[is_sweep(table)]
    target = _only_domain(options, sweep)
    request = _request(options, sweep)
    forgetting = {d: _seen(options, "forgetting", table, d) for d in request.forgetting_limits}
    fits = {domain: one.fitted for domain, one in forgetting.items()}
    lines, tables = [], []
    for name in options.law or ["gated_floor"]:
        seen = _seen(options, name, table, target)
        record = seen.fitted.record
        lines.append(
            f"{record.law} ({record.protocol}) for {request.n_params:.4g} parameters at PTPP "
            f"{request.ptpp:g}, fitted to {record.n_rows} rows of {target}:"
        )
        if options.goal == "pareto":
            found = pareto_front(request, seen.fitted, fits)
            outside = {name for names in found["extrapolated"] for name in names.split()}
            lines += told_front(found) + told_extrapolation(sorted(outside))
        else:
            told, found = _planned(request, seen.fitted, fits, options.goal)
            plan = found.to_dict("records")[0]
            lines += told + _compared(options, plan, seen.rows, target)
            if options.next:
                stages = {*sweep["ptpp"].unique(), request.ptpp}
                cells = candidate_cells(seen.rows, plan, sorted(stages))
                best = next_measurements(plan, seen, forgetting, cells)
                lines += told_measurements(best.head(options.next))
        lines += [f"  warning: {line}" for line in record.warnings]
        tables.append(found)
    if options.out:
        write_text(options.out, to_csv(pd.concat(tables, ignore_index=True)))
        lines.append(f"written: {options.out}")
    return lines


def _request(options: argparse.Namespace, sweep: pd.DataFrame) -> PlanRequest:
    """What the options ask for; ATPP within the table's range unless they say otherwise."""
    return PlanRequest(
        n_params=options.n_params,
        ptpp=options.ptpp,
        forgetting_limits=dict(options.limit),
        target_loss=options.target_loss,
        target_within=options.target_within,
        min_atpp=options.min_atpp or float(sweep["atpp"].min()),
        max_atpp=options.max_atpp or float(sweep["atpp"].max()),
        max_replay=options.max_replay,
        max_flops=options.max_flops,
        base_loss=options.base_loss,
        confidence=options.confidence,
    )


def _planned(
    request: PlanRequest, target: Fitted, forgetting: Mapping[str, Fitted], goal: str
) -> tuple[list[str], pd.DataFrame]:
    """What to print, and the table: the point plan, then the robust one."""
    records = {domain: one.record for domain, one in forgetting.items()}
    point = make_plan(request, target.record, records, goal=goal)
    point = with_intervals(point, request, target, forgetting)
    robust = make_robust_plan(request, target, forgetting, goal=goal)
    within = request.target_loss is None
    lines = told_plan(point, "point plan")
    if not point.feasible:
        lines += told_relaxations(relaxations(request, target.record, records, goal=goal), within)
    lines += told_plan(robust, f"robust plan, {request.confidence:.0%} of the draws")
    if not robust.feasible:
        lines += told_relaxations(relaxations(request, target, forgetting, goal=goal), within)
    lines += told_extrapolation(sorted({*point.extrapolated, *robust.extrapolated}))
    table = plan_table([point, robust])
    table.insert(2, "kind", ["point", "robust"])
    return lines, table


def _compared(
    options: argparse.Namespace, plan: Mapping, rows: pd.DataFrame, target: str
) -> list[str]:
    """The plan beside training from scratch, where that is asked for."""
    settings, lines = _settings(options), []
    if options.break_even:
        transfer = fitted_transfer(rows, plan["protocol"], settings, options.bootstrap)
        if isinstance(transfer, str):
            lines.append(f"  break-even: {transfer}")
        else:
            lines += told_break_even(by_transfer(plan, transfer))
    if options.from_scratch:
        scratch = fitted_scratch(options.from_scratch, target, settings)
        lines += told_break_even(by_measurement(plan, scratch))
    return lines


def _seen(options: argparse.Namespace, law: str, table: pd.DataFrame, domain: str) -> Seen:
    """A law fitted to a domain's rows under the protocol that the options say, with its draws."""
    law = find_law(law)
    if "base_loss" in law.inputs and options.base_loss is None:
        raise InputError(f"law {law.name} needs --base-loss")
    try:
        rows, protocol = law_rows(table, law, domain), "all_rows"
        if options.held_out is not None:
            part = _split(options, table, rows)
            rows, protocol = part.fit, part.protocol
    except InputError as error:
        raise InputError(f"{options.table}: {error}") from None
    record = fit(law, rows, _settings(options), protocol, domain, options.table)
    draws = bootstrap(record, rows, options.bootstrap, options.seed, law)
    return Seen(Fitted(record, draws), rows)


def _split(options: argparse.Namespace, table: pd.DataFrame, rows: pd.DataFrame) -> Split:
    """The rows before the held-out stage, with its anchors if any are asked for."""
    if not options.anchors:
        return early_to_late(rows, options.held_out)
    grid = grid_of(table, options.held_out)
    axes = (grid[axis] for axis in ("sizes", "replay", "atpp"))
    there = measured_cells(table, options.held_out)
    cells = choose_anchors(*axes, options.anchors, options.seed, there)
    return with_anchors(rows, options.held_out, cells)


def _settings(options: argparse.Namespace) -> FitSettings:
    return FitSettings(starts=options.starts, seed=options.seed)


def _only_domain(options: argparse.Namespace, sweep: pd.DataFrame) -> str:
    domains = sorted(sweep["domain"].unique())
    if options.target is None and len(domains) > 1:
        raise InputError(
            f"{options.table}: {len(domains)} domains ({', '.join(domains)}); "
            "choose the target by --target"
        )
    if not domains:
        raise InputError(f"{options.table}: no sweep rows (atpp > 0, replay < 1)")
    return options.target or domains[0]
