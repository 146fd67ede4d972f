"""A plan carried out: which one, and what was predicted of the adapted model against its losses."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.jobs.files import read_json
from ptpp.laws.base_loss import SAME_SIZE
from ptpp.laws.fitted import FittedLaw
from ptpp.table.kinds import is_stage
from ptpp.table.observations import read_observations, write_observations
from ptpp.table.reading import read_text

KINDS = ("robust", "point")  # in the order of preference
COMPARISON_COLUMNS = (
    *("domain", "predicted", "lower", "upper", "measured", "inside", "relative_error"),
    *("limit", "kept", "law", "kind", "size", "seed", "n_params", "ptpp", "replay", "atpp"),
    "adapt_tokens",
)
_NEEDED = ("law", "n_params", "ptpp", "replay", "atpp", "feasible")


@dataclass(frozen=True)
class ChosenPlan:
    """A feasible plan. `kind`: one of `KINDS`. `target_limit`: nats, NaN where there is none;
    `forgetting_limits`: nats by base domain.
    """

    law: str
    kind: str
    n_params: float
    ptpp: float
    replay: float
    atpp: float
    target_limit: float
    forgetting_limits: Mapping[str, float]


def choose_plan(
    tables: Mapping[str, pd.DataFrame], law: str, n_params: float, ptpp: float | None = None
) -> ChosenPlan | None:
    """The plan by `law` for a model of `n_params`, within 1 %: the robust one, or else the cheapest
    by the point forecast; None where neither is feasible.

    `tables`: plans as by `plan_table`, by kind. `ptpp`: where they speak of several stages.
    """
    for kind in filter(tables.__contains__, KINDS):
        table = tables[kind]
        if table.empty:
            continue
        same = np.abs(table["n_params"] / n_params - 1) <= SAME_SIZE
        rows = table[same & (table["law"] == law) & (table["feasible"].astype(str) == "True")]
        rows = rows if ptpp is None else rows[is_stage(rows, ptpp)]
        if len(rows):
            return _chosen(rows.iloc[0], kind)
    return None


def _chosen(row: pd.Series, kind: str) -> ChosenPlan:
    limits = {
        name.removeprefix("forgetting_").removesuffix("_limit"): float(value)
        for name, value in row.items()
        if name.startswith("forgetting_") and name.endswith("_limit") and pd.notna(value)
    }
    numbers = (float(row[name]) for name in ("n_params", "ptpp", "replay", "atpp"))
    limit = float(row.get("target_loss_limit", np.nan))
    return ChosenPlan(str(row["law"]), kind, *numbers, limit, limits)


def read_plans(path: str | os.PathLike) -> dict[str, pd.DataFrame]:
    """Plans by kind from a file: the CSV or JSON of `ptpp plan`, or plan.csv or robust.csv of the
    workflow. Raises InputError for another file, such as a Pareto front.
    """
    if os.fspath(path).endswith(".json"):
        record = read_json(path)
        rows = record.get("plans") if isinstance(record, dict) else None
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise InputError(f"{path}: no key 'plans'; accepted is the output of ptpp plan --json")
        table = pd.DataFrame(rows)
    else:
        table = read_text(path)[0]
    for name in _NEEDED:
        if name not in table:
            raise InputError(
                f"{path}: no column {name!r}; accepted are plans by ptpp plan or the workflow"
            )
    for name in [c for c in table if c in _NEEDED[1:5] or c.endswith("_limit")]:
        table[name] = pd.to_numeric(table[name], errors="coerce")
        broken = name in _NEEDED and ~np.isfinite(table[name])
        if np.any(broken):
            raise InputError(f"{path}: column {name}: accepted are finite numbers")
    outside = (table["replay"] < 0) | (table["replay"] > 1) | (table["atpp"] <= 0)
    if outside.any() or (table[["n_params", "ptpp"]] <= 0).to_numpy().any():
        raise InputError(
            f"{path}: accepted are replay from 0 to 1, and n_params, ptpp and atpp above 0"
        )
    if "kind" in table:
        return {str(kind): rows for kind, rows in table.groupby("kind")}
    return {"point" if "feasible_draws" in table else "robust": table}


def compare_losses(
    plan: ChosenPlan,
    target: FittedLaw,
    forgetting: Mapping[str, FittedLaw],
    before: pd.DataFrame,
    after: pd.DataFrame,
) -> pd.DataFrame:
    """What was predicted against what was measured, a row per domain: `COMPARISON_COLUMNS`.

    `target`, `forgetting`: fits of the target law and, by base domain, of forgetting laws. `before`
    and `after`: the checkpoint's and the adapted model's rows of an observation table. The laws
    read the checkpoint's own losses before adaptation. `lower`, `upper`: the 90 % interval of one
    measured loss (`FittedLaw.predict`), nats. `limit`: what the plan allowed, nats. A domain whose
    law says nothing at this replay ratio has no prediction. `relative_error`: predicted over
    measured, less 1.
    """
    losses = before.set_index("domain")["loss"]
    name = target.record.domain
    base_loss = losses.drop(name).mean()
    rows = []
    for _, row in after.iterrows():
        domain, measured = row["domain"], float(row["loss"])
        fitted = target if domain == name else forgetting.get(domain)
        point = {"predicted": np.nan, "lower": np.nan, "upper": np.nan}
        if fitted is not None and not (fitted.law.rows == "with_replay" and row["replay"] == 0):
            known = {c: [row[c]] for c in ("n_params", "ptpp", "replay", "atpp", "adapt_tokens")}
            known |= {"base_loss": [base_loss], "zero_shot_loss": [losses[domain]]}
            predicted = fitted.predict(pd.DataFrame(known)).iloc[0]
            keys = {"predicted": "loss", "lower": "low", "upper": "high"}
            point = {new: float(predicted.get(old, np.nan)) for new, old in keys.items()}
        limit = plan.target_limit
        if domain != name:
            limit = losses[domain] + plan.forgetting_limits.get(domain, np.nan)
        is_bounded = np.isfinite([point["lower"], point["upper"]]).all()
        rows.append(
            {
                **point,
                "inside": point["lower"] <= measured <= point["upper"] if is_bounded else None,
                "measured": measured,
                "relative_error": point["predicted"] / measured - 1,
                "limit": limit,
                "kept": measured <= limit if np.isfinite(limit) else None,
                "law": plan.law,
                "kind": plan.kind,
                **{c: row[c] for c in COMPARISON_COLUMNS if c in row},
            }
        )
    rows.sort(key=lambda row: row["domain"] != name)
    return pd.DataFrame(rows, columns=list(COMPARISON_COLUMNS))


def outcome_sentence(table: pd.DataFrame) -> str:
    """A table by `compare_losses` in one sentence."""
    first = table.iloc[0]
    plan = "robust plan" if first["kind"] == "robust" else "cheapest plan"
    parts = [
        f"{row['domain']} {row['measured']:.4g} nats"
        + (f", forecast {row['predicted']:.4g}" if pd.notna(row["predicted"]) else "")
        for _, row in table.iterrows()
    ]
    counts = []
    for column, what in (("inside", "losses within their intervals"), ("kept", "limits kept")):
        known = table[column].dropna().astype(str)
        if len(known):
            counts.append(f"{(known == 'True').sum()} of {len(known)} {what}")
    return (
        f"{first['size']} (seed {first['seed']}) at PTPP {first['ptpp']:g}, adapted as the {plan} "
        f"by {first['law']} has it (replay {100 * first['replay']:.3g} %, {first['atpp']:.3g} "
        f"tokens per parameter): {'; '.join(parts)}. {', '.join(counts)}."
    )


def is_measured(table: pd.DataFrame, rows: pd.DataFrame) -> bool:
    """Whether a table of losses holds the cell and seed of measured `rows`, under any run."""
    keys = ["size", "replay", "atpp", "domain", "seed"]
    row = rows.iloc[0]
    same = (table[keys] == row[keys]).all(axis=1)
    return bool((same & is_stage(table, row["ptpp"])).any())


def unlike_table(table: pd.DataFrame, before: pd.DataFrame) -> str:
    """A warning where a table holds other losses of the checkpoint than were measured now, by more
    than 1 %; else empty.
    """
    for _, row in before.iterrows():
        same = (table["size"] == row["size"]) & (table["seed"] == row["seed"])
        same &= (table["domain"] == row["domain"]) & (table["atpp"] == 0)
        known = table[same & is_stage(table, row["ptpp"])]["loss"]
        if len(known) and abs(row["loss"] / known.iloc[0] - 1) > 0.01:
            return (
                f"warning: before adaptation {row['domain']} measures {row['loss']:.4g} nats, but "
                f"{known.iloc[0]:.4g} in the table; with other text or another checkpoint the "
                "forecast is of something else"
            )
    return ""


def keep_rows(rows: str | os.PathLike, table: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Copy measured rows into `folder`, under the name of their run; returns the copy.

    Raises InputError where there are none, or where `table` holds their cell.
    """
    measured, known = read_observations(rows), read_observations(table)
    run = str(measured["run"].iloc[0])
    path = Path(folder) / f"{run}.csv"
    if is_measured(known, measured):
        raise InputError(f"{table}: holds this cell already; nothing is kept a second time")
    write_observations(measured, path)
    return path
