"""PTPP-aware adaptation scaling laws: from text, or a table of losses, to fits and a plan.

    import ptpp

    table = ptpp.read("my_losses.csv")
    fit = ptpp.fit(table, law="gated_floor", target="fr", held_out=279, anchors=20)
    fit.score()
    fit.predict(n_params="7B", ptpp=279, replay=0.1, atpp=5)
    ptpp.plan(fit, n_params="7B", ptpp=279, limits={"en": 0.5})

Nothing heavy is imported before it is used, and torch never for a table of losses.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ptpp.errors import InputError

if TYPE_CHECKING:
    import os

    import pandas as pd

    from ptpp.laws.from_table import LawFit
    from ptpp.laws.law import Law
    from ptpp.planning.from_table import Plans

__all__ = ["InputError", "fit", "load", "plan", "read"]
__version__ = "0.1.0"


def read(
    path: "str | os.PathLike | pd.DataFrame",
    *,
    target: str | None = None,
    rename: Mapping[str, str] | None = None,
    where: str | None = None,
    law: "Law | str | None" = None,
) -> "pd.DataFrame":
    """Read a table of losses, from a CSV file or a DataFrame, and check it.

    One row per measured loss. Columns: n_params [parameters], ptpp [pre-training tokens per
    parameter], replay [share of the adaptation text, 0 to 1], loss [nats per token] and one of atpp
    [adaptation tokens per parameter] and adapt_tokens [tokens]; domain, seed and size where there
    are several. `rename` maps other names and units: {"N": "n_params", "cpt_B": "adapt_tokens*1e9",
    "replay": "1 - share"}. `where` chooses rows: "ptpp < 100". `target`: the domain that must be
    there. `law`: ask only for the columns that this law needs.

    Returns a DataFrame (n rows) with the columns of `ptpp.table.columns.COLUMNS`. Raises
    InputError, one line that names the row and the column.
    """
    from ptpp.laws.declared import find_law
    from ptpp.table.observations import read_observations

    needs = None if law is None else find_law(law).columns
    return read_observations(path, None, target, rename, where, needs)


def fit(
    table: "pd.DataFrame",
    law: "Law | str | None" = None,
    *,
    target: str | None = None,
    held_out: float | str | None = None,
    anchors: int = 0,
    starts: int = 16,
    draws: int = 200,
    seed: int = 0,
    krige: bool = True,
) -> "LawFit":
    """Fit a law to one domain of a table by `read`, with bootstrap draws and its misfit.

    `law`: a law of the zoo (docs/laws.md), such as state, gated_floor or forgetting, or the file of
    a declared law; None: state, where the table has the checkpoints' base losses, else gated_floor.
    `target`: the domain, where the table has several. `held_out`: fit the stages before this PTPP
    alone, and be scored on it; `anchors`: so many small-scale cells of it are fitted too. `starts`:
    of the solver; `draws`: bootstrap refits; `seed`: of both and of the choice of anchors. `krige`:
    correct the law by its misfit.

    Returns a `LawFit` with `predict`, `score`, `parameters`, `warnings` and `save`. Raises
    InputError, one line, where the rows cannot be fitted.
    """
    from ptpp.laws.from_table import FitOptions, fit_law
    from ptpp.table.units import parse_number

    stage = None if held_out is None else parse_number(held_out)
    options = FitOptions(stage, anchors, starts, draws, seed, krige)
    return fit_law(table, law, target, options)


def load(path: "str | os.PathLike") -> "LawFit":
    """Read a fit that `LawFit.save` or `ptpp fit` wrote; raises InputError where it is none."""
    from ptpp.laws.fitted import FittedLaw
    from ptpp.laws.from_table import LawFit

    return LawFit(FittedLaw.load(path))


def plan(
    source: "pd.DataFrame | LawFit | Sequence[LawFit]",
    *,
    n_params: float | str,
    ptpp: float | str,
    limits: Mapping[str, float] | None = None,
    goal: str = "least_compute",
    target_loss: float | None = None,
    target_within: float = 0.05,
    break_even: bool = False,
    from_scratch: "str | os.PathLike | None" = None,
    measurements: int = 0,
    law: "Law | str | Sequence[Law | str] | None" = None,
    target: str | None = None,
    held_out: float | None = None,
    anchors: int = 0,
    starts: int = 16,
    draws: int = 200,
    seed: int = 0,
    krige: bool = True,
    **wishes: float,
) -> "Plans":
    """The replay ratio and the number of tokens that reach a target loss within limits.

    `source`: a table by `read`, to which `law` (one or several) is fitted as `fit` does, or fits
    that were made from one. `n_params`, `ptpp`: the checkpoint to adapt [parameters, tokens per
    parameter]. `limits`: most forgetting of each base domain [nats per token]. `goal`:
    least_compute, least_loss or pareto. `target_loss` [nats per token]; None: within
    `target_within` nats of the least that is reachable. `break_even`: compare with training from
    scratch, by a law; `from_scratch`: by a table of such runs (CSV). `measurements`: how many next
    measurements to name. `wishes`: further fields of `ptpp.planning.PlanRequest`: min_atpp,
    max_atpp (the table's range) [tokens per parameter], max_replay (0.95), max_flops [FLOPs],
    base_loss [nats per token], confidence (0.9).

    Returns `Plans`; its `table` has a row per plan. Raises InputError where none can be made.
    """
    from ptpp.laws.from_table import FitOptions, LawFit, fit_law, only_domain
    from ptpp.planning.from_table import make_plans, make_request
    from ptpp.table.kinds import is_sweep
    from ptpp.table.units import parse_number

    is_table = hasattr(source, "columns")
    fits = [] if is_table else [source] if isinstance(source, LawFit) else list(source)
    table = source if is_table else fits[0].table if fits else None
    if table is None or any(one.table is None for one in fits):
        raise InputError("plan: needs a table, or fits made from one")
    request = make_request(
        table,
        n_params=parse_number(n_params),
        ptpp=parse_number(ptpp),
        forgetting_limits=dict(limits or {}),
        target_loss=target_loss,
        target_within=target_within,
        **wishes,
    )
    if is_table:
        asked = request.ptpp if held_out is None else None
        options = FitOptions(held_out, anchors, starts, draws, seed, krige, asked)
        laws = [law] if isinstance(law, str) or not isinstance(law, Sequence) else law
        domain = target or only_domain(table[is_sweep(table)])
        fits = [fit_law(table, one, domain, options, always_draw=False) for one in laws]
    options = {"goal": goal, "break_even": break_even, "from_scratch": from_scratch}
    return make_plans(fits, request, measurements=measurements, **options)
