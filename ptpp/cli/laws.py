"""`ptpp fit`, `ptpp predict` and `ptpp score`."""

from typing import TYPE_CHECKING

import click

from ptpp.cli.options import (
    FILE,
    POSITIVE,
    SHARE,
    TableOptions,
    fit_options,
    json_option,
    table_options,
)
from ptpp.cli.result import Result
from ptpp.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from ptpp.laws.law import Law


@click.command()
@table_options
@click.option("--law", "name", required=True, help="A law by name, or a declared law's YAML file.")
@click.option("--out", required=True, type=FILE, help="The fit (JSON); draws go to .npz beside it.")
@fit_options
@json_option
def fit(
    source: TableOptions,
    name: str,
    out: str,
    held_out: float | None,
    anchors: int | None,
    starts: int,
    seed: int,
    bootstrap: int,
    as_json: bool,
) -> Result:
    """Fit a law to a table of losses."""
    from ptpp.api.fits import FitOptions, fit_law
    from ptpp.cli.text import describe_fit, describe_scores
    from ptpp.laws.declared import find_law
    from ptpp.laws.fitted import draws_path

    law = find_law(name)
    table = read_source(source, law)
    options = FitOptions(held_out, anchors or 0, starts, bootstrap, seed)
    one = fit_law(table, law, choose_domain(source, table), options, source.path)
    scores = None if one.held_out.empty else one.score()
    files = [out, str(draws_path(out))]
    one.save(out)
    lines = describe_fit(one)
    if scores is not None:
        lines += describe_scores(one.fitted, scores, one.held_out)
    record = one.fitted.record
    values = {
        "law": record.law,
        "protocol": record.protocol,
        "domain": record.domain,
        "n_rows": record.n_rows,
        "converged": record.converged,
        "objective": record.objective,
        "starts_agree": record.share_1e6,
        "parameters": one.parameters.to_dict("index"),
        "scores": None if scores is None else scores.to_dict("index"),
        "warnings": one.warnings,
        "files": files,
    }
    return Result([*lines, f"written: {', '.join(files)}"], values, as_json)


@click.command()
@click.argument("path", metavar="FIT", type=FILE)
@click.option("--n-params", type=POSITIVE, required=True, help="Parameters, such as 7B.")
@click.option("--ptpp", type=POSITIVE, help="Pre-training tokens per parameter.")
@click.option("--replay", type=SHARE, help="Share of replayed tokens, 0 to 1.")
@click.option("--atpp", type=POSITIVE, help="Adaptation tokens per parameter; or:")
@click.option("--adapt-tokens", type=POSITIVE, help="Adaptation tokens.")
@click.option("--base-loss", type=POSITIVE, help="The checkpoint's base loss, nats.")
@click.option("--zero-shot-loss", type=POSITIVE, help="Its loss on this domain, nats.")
@json_option
def predict(path: str, as_json: bool, **point: float | None) -> Result:
    """Predict a loss from a fit."""
    from ptpp.api.fits import load_fit, missing_columns
    from ptpp.cli.text import describe_prediction

    if (point["atpp"] is None) == (point["adapt_tokens"] is None):
        raise click.UsageError(
            "one of --atpp and --adapt-tokens is needed"
            if point["atpp"] is None
            else "--adapt-tokens is not allowed with --atpp"
        )
    one = load_fit(path)
    values = {name: value for name, value in point.items() if value is not None}
    missing = missing_columns(one.fitted.law, [*values, "atpp", "adapt_tokens"])
    if missing:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise InputError(f"law {one.fitted.law.name} needs {names}")
    try:
        row = one.predict(**values).iloc[0]
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    draws = one.fitted.draws
    band = None
    if "band_low" in row:
        band = {"parameter": draws.band_name, "low": row["band_low"], "high": row["band_high"]}
    answer = {
        "law": one.fitted.law.name,
        "domain": one.fitted.record.domain,
        "loss": row["loss"],
        "low": row.get("low"),
        "high": row.get("high"),
        "band": band,
        "extrapolated": row["extrapolated"].split(", ") if row["extrapolated"] else [],
        "warnings": one.warnings,
    }
    return Result(describe_prediction(one, answer), answer, as_json)


@click.command()
@click.argument("path", metavar="FIT", type=FILE)
@table_options
@json_option
def score(path: str, source: TableOptions, as_json: bool) -> Result:
    """Score a fit on the rows of a table."""
    from ptpp.api.fits import load_fit
    from ptpp.cli.text import describe_scores
    from ptpp.laws.rows import law_rows

    one = load_fit(path)
    table = read_source(source, one.fitted.law)
    domain = choose_domain(source, table)
    try:
        rows = law_rows(table, one.fitted.law, domain)
        scores = one.score(table, domain)
    except InputError as error:
        raise InputError(f"{source.path}: {error}") from None
    values = {
        "law": one.fitted.law.name,
        "domain": domain,
        "n_rows": len(rows),
        "stages": sorted(rows["ptpp"].unique()) if "ptpp" in rows else [],
        "scores": scores.to_dict("index"),
    }
    return Result(describe_scores(one.fitted, scores, rows), values, as_json)


def read_source(
    source: TableOptions, law: "Law | None" = None, held_out: float | None = None
) -> "pd.DataFrame":
    """The table that the options name; with `law`, the columns that this law needs."""
    from ptpp.api.fits import read_table

    return read_table(source.path, source.target, held_out, source.rename, source.where, law)


def choose_domain(source: TableOptions, table: "pd.DataFrame") -> str:
    """The domain that --target names, or the only one."""
    from ptpp.api.fits import only_domain

    return source.target or only_domain(table, source.path)
