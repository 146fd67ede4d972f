"""Break-even: what a training run from scratch would need to reach the target loss of a plan.

"measured": a law fitted to losses of runs from scratch; the tokens at which it reaches the plan's
loss are found by bisection. "transfer": the law `transfer_offset` says what pre-training replaces:
with share s of target tokens its loss depends on s D + tau N (P/P0)^pi, so a run without
pre-training needs tau N (P/P0)^pi / s tokens more (the effective data of Hernandez et al., arXiv
2102.01293). That is the law's continuation to a PTPP of 0, which no row measures.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ptpp.errors import InputError
from ptpp.laws.fitted import ENDS, FittedLaw
from ptpp.laws.fitting import FitSettings, fit
from ptpp.laws.forms import get_law
from ptpp.laws.rows import law_rows
from ptpp.laws.uncertainty import bootstrap
from ptpp.planning.forecast import broadcast_values
from ptpp.planning.request import FLOPS_PER_PARAMETER_AND_TOKEN
from ptpp.planning.search import quantile
from ptpp.table.observations import read_observations

_FARTHEST = 1e12  # times the plan's tokens: beyond, a loss counts as out of reach


@dataclass(frozen=True)
class BreakEven:
    """A run from scratch beside a plan, both of the same model and the same mix.

    `scratch_tokens`: what it needs, infinite where the loss is out of its reach, with the ends of
    its 90 % interval by the draws (NaN without). `break_even_atpp`: the ATPP up to which adapting a
    checkpoint that exists is cheaper. `ratio`: compute from scratch over that of adapting;
    `ratio_with_pretraining`: over that of pre-training and adapting. `reached`: the share of draws
    in which it gets there. FLOPs are 6 N tokens. `extrapolated`: what leaves the measured range,
    "from_scratch" where no run from scratch was measured.
    """

    basis: str
    scratch_law: str
    replay: float
    target_loss: float
    adapt_tokens: float
    scratch_tokens: float
    scratch_tokens_low: float
    scratch_tokens_high: float
    break_even_atpp: float
    adapt_flops: float
    scratch_flops: float
    ratio: float
    ratio_with_pretraining: float
    reached: float
    extrapolated: str


COLUMNS = ("law", "protocol", *(one.name for one in fields(BreakEven)), "note")


def by_transfer(plan: Mapping, transfer: FittedLaw) -> BreakEven:
    """By a fit of `transfer_offset`; `plan` is a row of `plan_table`.

    The law's own losses decide, so that its level errors cancel.
    """
    reference = transfer.record.reference
    places = [transfer.law.names.index(name) for name in ("tau", "pi")]

    def tokens(params: NDArray) -> NDArray:
        tau, pi = params[:, places].T
        worth = tau * plan["n_params"] * (plan["ptpp"] / reference["ptpp"]) ** pi
        return plan["adapt_tokens"] + worth / (1 - plan["replay"])

    return _compare(plan, "transfer", transfer, tokens)


def by_measurement(plan: Mapping, scratch: FittedLaw) -> BreakEven:
    """By a fit to losses of runs from scratch: a law of tokens, size and, if it likes, the mix.

    The run from scratch reads the plan's mix. Raises InputError for a law that needs a PTPP.
    """
    return _compare(plan, "measured", scratch, lambda params: _tokens_for(plan, scratch, params))


def break_even_table(
    plans: pd.DataFrame, transfer: Mapping[str, FittedLaw | str], scratch: FittedLaw | None = None
) -> pd.DataFrame:
    """One row per plan (of `plan_table`) and way to know, `COLUMNS`.

    `transfer`: protocol -> a fit of `transfer_offset`, or why there is none, which the column
    `note` then says. `scratch`: a fit to runs from scratch, if there is one.
    """
    rows = []
    for plan in plans.to_dict("records"):
        labels = {"law": plan["law"], "protocol": plan["protocol"], "note": ""}
        fitted = transfer[plan["protocol"]]
        if isinstance(fitted, str):
            rows.append({**labels, "basis": "transfer", "note": fitted})
        else:
            rows.append({**labels, **asdict(by_transfer(plan, fitted))})
        if scratch is not None:
            rows.append({**labels, **asdict(by_measurement(plan, scratch))})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def fit_transfer(
    rows: pd.DataFrame, protocol: str, settings: FitSettings, draws: int
) -> FittedLaw | str:
    """`transfer_offset` fitted to a target law's rows, with its draws; or why it cannot be."""
    try:
        return bootstrap(fit("transfer_offset", rows, settings, protocol), draws, settings.seed)
    except InputError as error:
        return str(error)


def fit_scratch(path: str | os.PathLike, target: str, settings: FitSettings) -> FittedLaw:
    """The Chinchilla law of runs from scratch, from a table of n_params, adapt_tokens and loss.

    All tokens of a run count as `adapt_tokens`. Without draws: a bootstrap of a handful of runs
    says nothing. Raises InputError, one line, for a bad table.
    """
    law = get_law("chinchilla")
    table = read_observations(path, target=target, needs=law.columns)
    return fit(law, law_rows(table, law, target), settings, "from_scratch", target, path)


def _tokens_for(plan: Mapping, scratch: FittedLaw, params: NDArray) -> NDArray:
    """Tokens (m,) at which the law's loss is the plan's; infinite where it never is."""

    def loss(log_tokens: NDArray) -> NDArray:
        tokens = np.exp(log_tokens)[:, None]
        rows = {
            "n_params": np.full_like(tokens, plan["n_params"]),
            "replay": np.full_like(tokens, plan["replay"]),
            "adapt_tokens": tokens,
            "atpp": tokens / plan["n_params"],
        }
        return broadcast_values(scratch, params, rows)[:, 0]

    middle = np.full(len(params), np.log(plan["adapt_tokens"]))
    low, high = middle - np.log(_FARTHEST), middle + np.log(_FARTHEST)
    reached = loss(high) <= plan["target_loss"]
    for _ in range(60):
        middle = (low + high) / 2
        enough = loss(middle) <= plan["target_loss"]
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(reached, np.exp(high), np.inf)


def _compare(
    plan: Mapping, basis: str, fitted: FittedLaw, tokens: Callable[[NDArray], NDArray]
) -> BreakEven:
    """`tokens`: what a run from scratch needs (m,), by parameters (m, p)."""
    needed = float(tokens(fitted.params)[0])
    low, high, reached = np.nan, np.nan, float(np.isfinite(needed))
    if fitted.draws is not None:
        drawn = tokens(fitted.draws.params)
        low, high = (float(quantile(drawn, share)[0]) for share in ENDS)
        reached = float(np.isfinite(drawn).mean())
    n_params, adapt_tokens = plan["n_params"], plan["adapt_tokens"]
    row = {name: plan[name] for name in ("n_params", "ptpp", "replay", "adapt_tokens")}
    row["adapt_tokens"] = needed if np.isfinite(needed) else adapt_tokens
    row["atpp"] = row["adapt_tokens"] / n_params
    outside = set(fitted.how_far({name: np.array([float(v)]) for name, v in row.items()}))
    outside |= {"from_scratch"} if basis == "transfer" else set()
    return BreakEven(
        basis=basis,
        scratch_law=fitted.record.law,
        **{name: plan[name] for name in ("replay", "target_loss", "adapt_tokens")},
        scratch_tokens=needed,
        scratch_tokens_low=low,
        scratch_tokens_high=high,
        break_even_atpp=needed / n_params,
        adapt_flops=FLOPS_PER_PARAMETER_AND_TOKEN * n_params * adapt_tokens,
        scratch_flops=FLOPS_PER_PARAMETER_AND_TOKEN * n_params * needed,
        ratio=needed / adapt_tokens,
        ratio_with_pretraining=needed / (plan["ptpp"] * n_params + adapt_tokens),
        reached=reached,
        extrapolated=" ".join(sorted(outside)),
    )
