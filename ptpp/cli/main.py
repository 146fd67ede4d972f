"""The command line: fit a law to a table, predict from the fit, score it on other rows, plan.

Bad input ends in one line on the error stream and exit code 2, and nothing is written.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from ptpp.cli import plan as command
from ptpp.cli.arguments import count, positive, share
from ptpp.errors import InputError
from ptpp.laws.comparison import score_intervals
from ptpp.laws.declared import find_law, law_of
from ptpp.laws.fitting import FitSettings, extrapolated_inputs, fit, predict_loss
from ptpp.laws.forms import LAWS
from ptpp.laws.identifiability import reason
from ptpp.laws.law import Law
from ptpp.laws.record import Fit
from ptpp.laws.rows import law_rows
from ptpp.laws.scoring import score
from ptpp.laws.uncertainty import LEVEL, Draws, band, bootstrap, coverage, prediction_interval
from ptpp.table.kinds import CELL
from ptpp.table.noise import seed_noise
from ptpp.table.observations import read_observations
from ptpp.table.protocols import early_to_late

_DRAWS = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code: 0, or 2 for bad input."""
    options = _parser().parse_args(arguments)
    try:
        lines = options.run(options)
    except (InputError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    print("\n".join(lines))
    return 0


def fit_command(options: argparse.Namespace) -> list[str]:
    """`fit`: writes the fit and, beside it, its bootstrap draws; returns what to print."""
    law = find_law(options.law)
    rows, table = _rows(options, law)
    parts = early_to_late(rows, options.held_out) if options.held_out is not None else None
    chosen, protocol = (rows, "all_rows") if parts is None else (parts.fit, parts.protocol)
    settings = FitSettings(starts=options.starts, seed=options.seed)
    record = fit(law, chosen, settings, protocol, _domain(rows), options.table)
    draws = bootstrap(record, chosen, options.bootstrap, options.seed, law)
    scored = [] if parts is None else _scores(record, draws, parts.held_out, table, law)
    out = Path(options.out)
    draws.to_npz(_draws_path(out))
    record.to_json(out)
    return [*_told(record, draws, chosen), *scored, f"written: {out}, {_draws_path(out)}"]


def predict_command(options: argparse.Namespace) -> list[str]:
    """`predict`: the loss of one run, with its interval where the fit has draws beside it."""
    record = Fit.from_json(options.fit)
    law = law_of(record)
    draws = _draws(options.fit, law)
    point = _point(options)
    for column in law.columns:
        if column not in point:
            raise InputError(f"law {law.name} needs --{column.replace('_', '-')}")
    loss = float(predict_loss(record, point, law)[0])
    if not np.isfinite(loss):
        raise InputError(f"{options.fit}: the law has no finite value at this point")
    lines = [f"loss: {loss:.6g} nats/token"]
    if draws is not None:
        lines = _band_told(record, draws, point, law, loss) or lines
        (low,), (high,) = prediction_interval(record, draws, point, law=law)
        lines.append(f"{LEVEL:.0%} interval of a measured loss: {low:.6g} to {high:.6g} nats/token")
    outside = extrapolated_inputs(record, point, law)
    if outside:
        lines.append(f"extrapolated: {', '.join(outside)} outside the fitted rows' range")
    return lines + _warnings(record, draws)


def score_command(options: argparse.Namespace) -> list[str]:
    """`score`: how well a fit predicts the losses of a table."""
    record = Fit.from_json(options.fit)
    law = law_of(record)
    draws = _draws(options.fit, law)
    rows, table = _rows(options, law)
    return _scores(record, draws, rows, table, law)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m ptpp", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True, metavar="fit | predict | score | plan")
    names = ", ".join(LAWS)

    fitting = commands.add_parser("fit", help="fit a law to a table of losses")
    fitting.set_defaults(run=fit_command)
    _add_table(fitting)
    fitting.add_argument("--law", required=True, help=f"{names}, or a declared law's YAML file")
    fitting.add_argument(
        "--out", required=True, help="the fit (JSON); draws go to a .npz beside it"
    )
    fitting.add_argument("--held-out", type=positive, help="fit earlier stages, score this PTPP")
    fitting.add_argument("--starts", type=count, default=16, help="solver starts (16)")
    fitting.add_argument("--seed", type=int, default=0, help="of starts and draws (0)")
    fitting.add_argument(
        "--bootstrap", type=count, default=_DRAWS, help=f"bootstrap draws ({_DRAWS})"
    )

    predicting = commands.add_parser("predict", help="predict a loss from a fit")
    predicting.set_defaults(run=predict_command)
    predicting.add_argument("fit", help="a fit (JSON)")
    predicting.add_argument("--n-params", type=positive, required=True, help="parameters")
    predicting.add_argument("--ptpp", type=positive, help="pre-training tokens per parameter")
    predicting.add_argument("--replay", type=share, help="share of replayed tokens, 0 to 1")
    tokens = predicting.add_mutually_exclusive_group(required=True)
    tokens.add_argument("--atpp", type=positive, help="adaptation tokens per parameter")
    tokens.add_argument("--adapt-tokens", type=positive, help="adaptation tokens")
    predicting.add_argument("--base-loss", type=positive, help="the checkpoint's base loss, nats")
    predicting.add_argument(
        "--zero-shot-loss", type=positive, help="the checkpoint's loss on this domain, nats"
    )

    scoring = commands.add_parser("score", help="score a fit on the rows of a table")
    scoring.set_defaults(run=score_command)
    scoring.add_argument("fit", help="a fit (JSON)")
    _add_table(scoring)

    planning = commands.add_parser("plan", help="the best replay ratio and ATPP within limits")
    command.add_arguments(planning)
    return parser


class _Parser(argparse.ArgumentParser):
    """Errors in one line, without the usage before it."""

    def error(self, message: str) -> None:
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def _add_table(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", help="observations (CSV)")
    parser.add_argument(
        "--rename", type=_renaming, action="append", default=[], metavar="THEIRS=OURS",
        help="call a column of the table by our name, such as N=n_params; may be repeated",
    )  # fmt: skip
    parser.add_argument("--where", help="rows to use, such as 'ptpp < 100'")
    parser.add_argument("--target", help="the domain to use, where the table has several")


def _rows(options: argparse.Namespace, law: Law) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows the law is fitted to or scored on, and the domain's part of the table."""
    table = read_observations(
        options.table,
        target=options.target,
        rename=dict(options.rename),
        where=options.where,
        needs=law.columns,
    )
    domains = sorted(table["domain"].unique())
    if options.target is None and len(domains) > 1:
        raise InputError(
            f"{options.table}: {len(domains)} domains ({', '.join(domains)}); "
            "choose one by --target"
        )
    domain = options.target or domains[0]
    try:
        return law_rows(table, law, domain), table[table["domain"] == domain]
    except InputError as error:
        raise InputError(f"{options.table}: {error}") from None


def _domain(rows: pd.DataFrame) -> str:
    return str(rows["domain"].iloc[0])


def _point(options: argparse.Namespace) -> dict[str, np.ndarray]:
    """The run to be predicted, as columns of one row."""
    n_params, atpp = options.n_params, options.atpp
    tokens = options.adapt_tokens if atpp is None else atpp * n_params
    values = {
        "n_params": n_params,
        "ptpp": options.ptpp,
        "replay": options.replay,
        "adapt_tokens": tokens,
        "atpp": tokens / n_params,
        "base_loss": options.base_loss,
        "zero_shot_loss": options.zero_shot_loss,
    }
    return {name: np.array([value]) for name, value in values.items() if value is not None}


def _draws_path(fit_path: str | Path) -> Path:
    return Path(fit_path).with_suffix(".npz")


def _draws(fit_path: str, law: Law) -> Draws | None:
    """The draws beside a fit, where there are some; they must be of its law."""
    path = _draws_path(fit_path)
    if not path.exists():
        return None
    draws = Draws.from_npz(path)
    if draws.names != law.names:
        raise InputError(
            f"{path}: draws of the parameters {', '.join(draws.names)}; accepted are those of "
            f"law {law.name}: {', '.join(law.names)}"
        )
    return draws


def _told(record: Fit, draws: Draws, rows: pd.DataFrame) -> list[str]:
    found = "converged" if record.converged else "NOT CONVERGED"
    lines = [
        f"{record.law} on {record.n_rows} rows of {record.domain} ({record.protocol}): {found}, "
        f"objective {record.objective:.6g}, {record.share_1e6:.0%} of starts agree"
    ]
    ends = np.quantile(draws.params, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    for name, low, high in zip(draws.names, *ends, strict=True):
        value = f"{record.params[name]:.6g}"
        if name in record.fixed:
            lines.append(f"  {name} = {value} (fixed)")
        elif name in draws.drawn:
            lines.append(f"  {name} = {value} (not identified)")
        else:
            lines.append(f"  {name} = {value} ({LEVEL:.0%}: {low:.4g} to {high:.4g})")
    lines += [f"warning: {hit} is at its bound" for hit in record.at_bounds]
    lines += _warnings(record, draws)
    if len(draws.band):
        lines.append(f"warning: {reason(sorted(rows['ptpp'].unique()))}; {_CURE}")
    return lines


_CURE = "anchors at the stage to be forecast, or a third stage, would narrow it"


def _warnings(record: Fit, draws: Draws | None) -> list[str]:
    """The fit's warnings, without those that the band tells better."""
    banded = draws.band_name if draws is not None and len(draws.band) else None
    return [
        f"warning: {line}"
        for line in record.warnings
        if banded is None or not line.startswith(f"{banded} ")
    ]


def _band_told(record: Fit, draws: Draws, point: Mapping, law: Law, loss: float) -> list[str]:
    """The band instead of one number, where the fitted stages cannot tell its parameter."""
    ends = band(record, draws, point, law)
    if ends is None:
        return []
    name, (low,), (high,) = draws.band_name, *ends
    return [
        f"loss: {low:.6g} to {high:.6g} nats/token, a band over {name} from {draws.band[0]:g} to "
        f"{draws.band[-1]:g}, which the fitted stages cannot tell apart; {_CURE}",
        f"point fit: {loss:.6g} nats/token at {name} = {record.params[name]:.4g}, one of many",
    ]


def _scores(
    record: Fit, draws: Draws | None, rows: pd.DataFrame, table: pd.DataFrame, law: Law
) -> list[str]:
    stages = f", PTPP {_stages(rows)}" if "ptpp" in rows else ""
    lines = [f"{record.law} on {len(rows)} rows of {_domain(rows)}{stages}:"]
    values = score(rows["loss"].to_numpy(), predict_loss(record, rows, law))
    if draws is None:
        lines += [f"  {name} = {value:.4g}" for name, value in values.items()]
    else:
        ends = score_intervals(record, draws, rows, law=law).set_index("score")
        lines += [
            f"  {name} = {value:.4g} ({LEVEL:.0%}: {ends.low[name]:.4g} to {ends.high[name]:.4g})"
            for name, value in values.items()
        ]
        low, high = prediction_interval(record, draws, rows, law=law)
        lines.append(
            f"  coverage of {LEVEL:.0%} intervals = {coverage(rows['loss'], low, high):.1%}"
        )
    noise = seed_noise(table) if set(CELL) <= set(table.columns) else float("nan")
    if np.isfinite(noise):
        lines.append(f"  noise floor = {noise:.4g} (relative seed noise of one run)")
    return lines


def _stages(rows: pd.DataFrame) -> str:
    return ", ".join(f"{stage:g}" for stage in sorted(rows["ptpp"].unique()))


def _renaming(text: str) -> tuple[str, str]:
    theirs, equals, ours = (part.strip() for part in text.partition("="))
    if not (theirs and equals and ours):
        raise argparse.ArgumentTypeError(f"{text!r}; accepted is THEIRS=OURS, such as N=n_params")
    return theirs, ours
