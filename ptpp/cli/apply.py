"""`ptpp apply`: a plan carried out on a checkpoint, and how good its forecast was."""

import importlib.util
import re
import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptpp.cli.options import (
    COUNT,
    FILE,
    POSITIVE,
    SEED,
    SHARE,
    Number,
    Pair,
    Result,
    Source,
    add_options,
    fit_options,
    json_option,
    table_options,
)
from ptpp.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from ptpp.laws.fitted import FittedLaw
    from ptpp.planning.applied import ChosenPlan
    from ptpp.training.outcome import Outcome
    from ptpp.training.request import Corpus, Training

NOT_BELOW = Number("a number from 0 on", lambda value: value >= 0)
MIX = Pair("DOMAIN=SHARE, such as en=0.5", NOT_BELOW)


@click.command()
@click.argument("path", metavar="PLAN", type=FILE)
@table_options
@add_options(
    click.option("--checkpoint", type=FILE, required=True, help="A Hugging Face folder."),
    click.option("--out", type=FILE, required=True, help="A new folder, for model and tables."),
    click.option("--tokens", type=FILE, metavar="DIR", help="Token stores DOMAIN.SPLIT.bin; or:"),
    click.option("--text", type=FILE, metavar="DIR", help="Text, DOMAIN.SPLIT.jsonl or .txt."),
    click.option(
        "--base",
        type=MIX,
        multiple=True,
        required=True,
        metavar="DOMAIN=SHARE",
        help="A domain of replayed text and its share of it; may be repeated.",
    ),
    click.option("--law", help="Whose plan (state, where there are several)."),
    click.option("--learning-rate", type=POSITIVE, required=True, help="Its peak, of AdamW."),
    click.option("--batch-tokens", type=COUNT, required=True, help="Tokens of a step."),
    click.option("--micro-batch-tokens", type=COUNT, help="Tokens that a device holds at once."),
    click.option("--context", type=COUNT, help="Tokens of a sequence (that of a GPT-2 of ours)."),
    click.option("--evaluation-tokens", type=COUNT, help="Held-out tokens per domain."),
    click.option("--base-width", type=COUNT, help="The rate is for this width (its own)."),
    click.option("--decay-fraction", type=SHARE, default=0.2, show_default=True),
    click.option("--warmup", type=NOT_BELOW, default=0.1, show_default=True, help="In ATPP."),
    click.option("--weight-decay", type=NOT_BELOW, default=0.1, show_default=True),
    click.option("--clip", type=POSITIVE, default=1.0, show_default=True),
    click.option("--checkpoint-seed", type=SEED, default=0, help="Its seed in TABLE; of batches."),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto"),
    click.option("--devices", type=COUNT, default=1, help="Devices that share the model."),
    click.option("--threads", type=COUNT, help="CPU threads (one a device)."),
    click.option("--save-every", type=NOT_BELOW, default=30.0, help="Seconds between saves."),
    fit_options,
    json_option,
)
def apply(path: str, source: Source, as_json: bool, **options: Any) -> Result:
    """Carry a plan out: adapt a checkpoint, save it, and measure what was predicted.

    PLAN is a file by `ptpp plan --out`, or plan.csv or robust.csv of the workflow; TABLE holds the
    losses that it was made from. The robust plan is taken, or else the cheapest. Stopped, the same
    command goes on where it was.
    """
    if importlib.util.find_spec("torch") is None:
        raise InputError("apply: torch is not installed: pip install 'ptpp[train]'")
    if bool(options["tokens"]) == bool(options["text"]):
        raise click.UsageError("one of --tokens and --text is needed")
    from ptpp.jobs.job import catch_stop
    from ptpp.laws.from_table import only_domain
    from ptpp.planning.applied import unlike_table
    from ptpp.report.tables import write_csv
    from ptpp.table.kinds import is_sweep
    from ptpp.training.outcome import judge
    from ptpp.training.request import check_free, make_job
    from ptpp.training.run import launch_job

    table = source.read(held_out=options["held_out"])
    target = source.target or only_domain(table[is_sweep(table)])
    plan, checkpoint = _choose(path, options), options["checkpoint"]
    corpus = _corpus(target, options)
    check_free(options["out"])  # before fits, which take a while
    corpus.check()
    fits = _fit(table, plan, target, options)
    out, name = Path(options["out"]), _name(table, plan.n_params, checkpoint)
    job = make_job(plan, checkpoint, corpus, _training(options), out, name)
    with catch_stop() as stopping:
        launch_job(job, stopping)
    outcome = judge(job, plan, fits)
    write_csv(outcome.comparison, out / "comparison.csv")
    lines = [*outcome.lines(), f"written: {out}", *_join(table, outcome, out, plan, target)]
    if warning := unlike_table(table, outcome.before):
        lines.insert(0, warning)
    values = {"plan": vars(plan), "comparison": outcome.comparison.to_dict("records")}
    values["warnings"] = [warning] if warning else []
    return Result(lines, {**values, "files": [str(out)]}, as_json)


def _choose(path: str, options: Mapping[str, Any]) -> "ChosenPlan":
    """The plan for the checkpoint."""
    from ptpp.models.sizes import COUNT_RULES
    from ptpp.planning.applied import choose_plan, read_plans
    from ptpp.training.request import read_size

    tables = read_plans(path)
    laws = sorted({law for table in tables.values() for law in table["law"]})
    law = options["law"] or ("state" if "state" in laws else laws[0] if len(laws) == 1 else None)
    if law not in laws:
        what = f"no plan by {law!r}" if law else "plans by several laws; choose by --law"
        raise InputError(f"{path}: {what}; there are {', '.join(laws)}")
    size = read_size(options["checkpoint"], options["context"])
    for rule in COUNT_RULES:
        if plan := choose_plan(tables, law, size.count(rule)):
            return plan
    raise InputError(
        f"{path}: no feasible plan by {law} for the {size.n_params:,} parameters of "
        f"{options['checkpoint']}"
    )


def _fit(
    table: "pd.DataFrame", plan: "ChosenPlan", target: str, options: Mapping[str, Any]
) -> "list[FittedLaw]":
    """The plan's law and a forgetting law for each base domain that the table can tell of."""
    from ptpp.laws.base_loss import measured_domains
    from ptpp.laws.from_table import FitOptions, fit_law

    names = ("held_out", "anchors", "starts", "draws", "seed", "krige")
    how = FitOptions(**{name: options[name] for name in names})
    how = replace(how, asked=plan.ptpp if how.held_out is None else None)
    known = set(measured_domains(table, target)) & {name for name, _ in options["base"]}
    domains = sorted(known | set(plan.forgetting_limits))
    pairs = [(plan.law, target), *(("forgetting", domain) for domain in domains)]
    return [fit_law(table, law, domain, how, always_draw=False).fitted for law, domain in pairs]


def _corpus(target: str, options: Mapping[str, Any]) -> "Corpus":
    from ptpp.training.request import Corpus

    folder = options["tokens"] or options["text"]
    place = (folder, options["tokens"] is None, target, dict(options["base"]))
    return Corpus(*place, options["evaluation_tokens"])


def _training(options: Mapping[str, Any]) -> "Training":
    from ptpp.training.job import Runtime
    from ptpp.training.request import Training

    names = ("learning_rate", "base_width", "decay_fraction", "warmup", "weight_decay", "clip")
    optimiser = {name: options[name] for name in names}
    devices = options["devices"]
    return Training(
        optimiser={**optimiser, "schedule": "wsd", "betas": [0.9, 0.95]},
        batch_tokens=options["batch_tokens"],
        context=options["context"],
        seed=options["checkpoint_seed"],
        device=options["device"],
        micro_batch_tokens=options["micro_batch_tokens"],
        runtime=Runtime(options["threads"] or devices, devices, 1, options["save_every"]),
    )


def _name(table: "pd.DataFrame", n_params: float, checkpoint: str) -> str:
    """What the table calls a size, or else the checkpoint's folder."""
    same = table[table["n_params"] == n_params]["size"]
    if len(same):
        return str(same.iloc[0])
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", Path(checkpoint).resolve().name).strip("-")[:40]
    return f"{name or 'model'}-{n_params:.0f}"


def _join(
    table: "pd.DataFrame", outcome: "Outcome", out: Path, plan: "ChosenPlan", target: str
) -> list[str]:
    """Write the table with the new rows, and say how the next plan knows them."""
    import pandas as pd

    from ptpp.planning.applied import is_measured
    from ptpp.table.observations import write_observations

    if is_measured(table, outcome.after):
        return ["the table holds this cell already: there is nothing to add to it"]
    new = [outcome.after]
    if not is_measured(table, outcome.before):
        new.insert(0, outcome.before)
    write_observations(pd.concat([table, *new], ignore_index=True), out / "table.csv")
    return [
        "the next plan knows it by: "
        f"ptpp plan {shlex.quote(str(out / 'table.csv'))} --target {target} "
        f"--n-params {plan.n_params:g} --ptpp {plan.ptpp:g}"
    ]
