"""`ptpp fit`, `ptpp predict` and `ptpp score`."""

import logging
from typing import Any

import click

import ptpp
from ptpp.cli.options import (
    FILE,
    INPUT,
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
from ptpp.errors import InputError

log = logging.getLogger("ptpp")


@click.command()
@table_options
@click.option("--law", "name", required=True, help="A law by name, or a declared law's YAML file.")
@click.option("--out", required=True, type=FILE, help="The fit (JSON); draws go to .npz beside it.")
@fit_options
@json_option
def fit(source: Source, name: str, out: str, as_json: bool, **options: Any) -> Result:
    """Fit a law to a table of losses."""
    from ptpp.cli.text import describe_fit, describe_scores
    from ptpp.laws.declared import find_law
    from ptpp.laws.record import check_places, draws_path

    check_places(out, inputs=[source.path, name])
    law = find_law(name)
    one = ptpp.fit(source.read(law), law, target=source.target, **options)
    scores = None if one.held_out.empty else one.score()
    files = [out, str(draws_path(out))]
    one.save(out)
    lines = describe_fit(one)
    if scores is not None:
        lines += describe_scores(one.fitted, scores, one.held_out)
    record = one.fitted.record
    copied = ("law", "protocol", "domain", "n_rows", "converged", "objective")
    values = {
        **{name: getattr(record, name) for name in copied},
        "starts_agree": record.share_1e6,
        "parameters": one.parameters.to_dict("index"),
        "scores": None if scores is None else scores.to_dict("index"),
        "warnings": one.warnings,
        "files": files,
    }
    return Result([*lines, f"written: {', '.join(files)}"], values, as_json)


@click.command()
@click.argument("path", metavar="FIT", type=FILE)
@add_options(
    click.option("--n-params", type=TOKENS, required=True, help="Parameters, such as 7B."),
    click.option("--ptpp", type=POSITIVE, help="Pre-training tokens per parameter."),
    click.option("--replay", type=SHARE, help="Share of replayed tokens, 0 to 1."),
    click.option("--atpp", type=POSITIVE, help="Adaptation tokens per parameter; or:"),
    click.option("--adapt-tokens", type=TOKENS, help="Adaptation tokens."),
    click.option("--base-loss", type=POSITIVE, help="The checkpoint's base loss, nats."),
    click.option("--zero-shot-loss", type=POSITIVE, help="Its loss on this domain, nats."),
    click.option(
        "--input",
        "own",
        type=INPUT,
        multiple=True,
        metavar="NAME=VALUE",
        help="A column of the table's own that a declared law reads; may be repeated.",
    ),
    json_option,
)
def predict(path: str, as_json: bool, own: tuple, **point: float | None) -> Result:
    """Predict a loss from a fit."""
    from ptpp.cli.text import describe_prediction

    if point["atpp"] is None and point["adapt_tokens"] is None:
        raise click.UsageError("one of --atpp and --adapt-tokens is needed")
    if point["atpp"] is not None and point["adapt_tokens"] is not None:
        raise click.UsageError("--adapt-tokens is not allowed with --atpp")
    one = ptpp.load(path)
    try:
        given = {name: value for name, value in point.items() if value is not None}
        table = one.predict({**given, **dict(own)})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    row, how_far = table.iloc[0], one.fitted.how_far(table)
    band = None
    if "band_low" in row:
        name = one.fitted.draws.band_name
        band = {"parameter": name, "low": row["band_low"], "high": row["band_high"]}
    answer = {
        "law": one.fitted.record.law,
        "domain": one.fitted.record.domain,
        "loss": row["loss"],
        "low": row.get("low"),
        "high": row.get("high"),
        "law_loss": row.get("law_loss", row["loss"]),
        "band": band,
        "extrapolated": list(how_far),
        "how_far": how_far,
        "warnings": one.warnings,
    }
    return Result(describe_prediction(one, answer), answer, as_json)


@click.command()
@click.argument("path", metavar="FIT", type=FILE)
@table_options
@json_option
def score(path: str, source: Source, as_json: bool) -> Result:
    """Score a fit on the rows of a table."""
    from ptpp.cli.text import describe_scores
    from ptpp.laws.from_table import only_domain
    from ptpp.laws.rows import law_rows
    from ptpp.table.kinds import list_stages

    one = ptpp.load(path)
    law = one.fitted.law
    table = source.read(law)
    fitted_to = one.fitted.record.domain
    present = "domain" in table and fitted_to in set(table["domain"])
    domain = source.target or (fitted_to if present else only_domain(table))
    if domain != fitted_to and present:
        log.warning("%s: a fit to %s, scored on %s", path, fitted_to, domain)
    try:
        rows, scores = law_rows(table, law, domain), one.score(table, domain)
    except InputError as error:
        raise InputError(f"{source.path}: {error}") from None
    _, latest = one.fitted.record.ranges.get("ptpp", (None, None))
    seen = int((rows["ptpp"] <= latest).sum()) if latest and "ptpp" in rows else 0
    if 0 < seen < len(rows):
        log.warning(
            "%s: %d of %d rows are of stages that it was fitted to; --where 'ptpp > %g' scores the "
            "others",
            *(path, seen, len(rows), latest),
        )
    values = {
        "law": law.name,
        "domain": domain,
        "n_rows": len(rows),
        "stages": list_stages(rows) if "ptpp" in rows else [],
        "scores": scores.to_dict("index"),
    }
    return Result(describe_scores(one.fitted, scores, rows), values, as_json)
