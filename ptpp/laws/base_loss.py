"""The checkpoint's own base-domain loss before adaptation, which informs a law of the checkpoint.

It is measured by the zero-shot rows of an observation table: one evaluation, no training. Where the
checkpoint does not exist yet, the law `tied` of the pre-training budget forecasts it [ours].
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ptpp.errors import InputError
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.fitting import FitSettings, fit
from ptpp.table.kinds import STAGE_WIDTH, is_zero_shot, with_stages, zero_shot_rows

SOURCES = ("given", "measured", "forecast")  # of a checkpoint's base loss
SAME_SIZE = 0.01  # relative difference of N, within which two models are one
# In log N and log PTPP: a measured checkpoint that close is the one meant.
NEAR = (SAME_SIZE, float(np.log(STAGE_WIDTH)))
TINY = 1e7  # parameters: whether such a model has passed its phase transition decides its loss


@dataclass(frozen=True)
class BaseLosses:
    """The base losses that a table measured, of the domains other than `target`, and a forecast.

    Nothing is read before a base loss is needed: a table without any serves other laws. `key`: what
    errors call it.
    """

    observations: pd.DataFrame
    target: str = ""
    key: str = "plan.base_loss"

    @classmethod
    def of_domain(cls, observations: pd.DataFrame, domain: str) -> "BaseLosses":
        """Those of one domain alone: what a forgetting law reads as `zero_shot_loss`."""
        rows = observations[observations["domain"] == domain].drop(
            columns="base_loss", errors="ignore"
        )
        rows = rows.rename(columns={"zero_shot_loss": "base_loss"})
        return cls(rows, key=f"plan.zero_shot_losses.{domain}")

    @cached_property
    def measured(self) -> pd.DataFrame:
        """One row per checkpoint, at least: n_params, ptpp, base_loss [nats per token].

        From the column base_loss, or else from zero-shot rows. Raises InputError for neither.
        """
        if "base_loss" in self.observations:
            rows = self.observations.dropna(subset="base_loss")
            rows = with_stages(rows).groupby(["n_params", "stage"])
            return rows[["ptpp", "base_loss"]].mean().reset_index()
        return base_losses(self.observations, measured_domains(self.observations, self.target))

    @cached_property
    def kriged(self) -> FittedLaw | None:
        """The forecast with its misfit; None where the largest measured model is `TINY`: when a
        tiny model passes its phase transition cannot be foreseen.
        """
        from ptpp.laws.misfit import krige_where_possible  # which fits laws itself

        if self.measured["n_params"].max() < TINY:
            return None
        fitted, _ = krige_where_possible(self.forecast, settings=FitSettings(starts=8))
        return fitted if fitted.misfit is not None else None

    def spread(self, n_params: float, ptpp: float) -> float:
        """Standard deviation [nats] of a forecast base loss: by the misfit of its law, and by the
        drift beyond the largest size. Infinite where nothing is known of it.
        """
        if self.kriged is None:
            return float("inf")
        loss, spread = self.kriged.forecast(base_loss_inputs(n_params, ptpp))
        return float(loss[0] * spread[0])

    def find(self, n_params: float, ptpp: float) -> tuple[float, str]:
        """The base loss of a checkpoint [nats per token], and its source: see `SOURCES`.

        Measured where the table holds N within 1 % at that stage (PTPP within 10 %), else forecast.
        Raises InputError for neither.
        """
        points = np.log(self.measured[["n_params", "ptpp"]].to_numpy(float))
        far = (np.abs(points - np.log([n_params, ptpp])) / NEAR).max(axis=1)
        if len(far) and far.min() <= 1:
            return float(self.measured["base_loss"].iloc[int(far.argmin())]), "measured"
        return float(forecast_base_loss(self.forecast, n_params, ptpp)[0]), "forecast"

    @cached_property
    def forecast(self) -> FittedLaw:
        """The law `tied` of the measured base losses."""
        try:
            return fit_base_loss(self.measured)
        except InputError as error:
            raise InputError(
                f"{self.key}: not stated, the table does not hold the checkpoint, and a "
                f"forecast is not possible ({error}); accepted is a number of nats"
            ) from None


def measured_domains(observations: pd.DataFrame, target: str) -> list[str]:
    """The domains other than `target` that have zero-shot rows."""
    domains = observations[is_zero_shot(observations)]["domain"].unique()
    return sorted(domain for domain in domains if domain != target)


def base_losses(
    observations: pd.DataFrame, domains: Sequence[str], by_seed: bool = False
) -> pd.DataFrame:
    """Mean loss before adaptation over base `domains`, by checkpoint: size, n_params, stage, ptpp,
    base_loss (nats per token), every domain with the same weight. Seeds are averaged, or,
    `by_seed`, apart in the column seed.

    Raises InputError where a domain has no zero-shot rows or a checkpoint lacks one of them.
    """
    checkpoint = ["size", "n_params", "stage", *(["seed"] if by_seed else [])]
    observations = with_stages(observations)
    rows = zero_shot_rows(observations, domains)
    if by_seed:
        among = observations["domain"].isin(list(domains)) & is_zero_shot(observations)
        rows = observations[among]
    grouped = rows.groupby(checkpoint, sort=True)
    short = grouped.size() < len(domains)
    if short.any():
        size, _, ptpp = short.index[short.to_numpy()][0][:3]
        raise InputError(
            f"checkpoint of size {size!r}, ptpp {ptpp:g}: zero-shot rows (atpp = 0) of only "
            f"{grouped.size()[short].iloc[0]} of the base domains {', '.join(domains)}"
        )
    means = grouped.agg(ptpp=("ptpp", "mean"), base_loss=("loss", "mean"))
    return means.reset_index()


def with_base_loss(rows: pd.DataFrame, observations: pd.DataFrame, target: str) -> pd.DataFrame:
    """`rows` with a column `base_loss`, measured over the domains other than `target`.

    `rows` need size and ptpp; those with a seed get the loss of that very checkpoint. Raises
    InputError for a checkpoint that was not measured.
    """
    by_seed = "seed" in rows
    keys, domains = ["size", "stage"], measured_domains(observations, target)
    keys += ["seed"] if by_seed else []
    measured = base_losses(observations, domains, by_seed).set_index(keys)["base_loss"]
    values = measured.reindex(pd.MultiIndex.from_frame(with_stages(rows)[keys])).to_numpy()
    if np.isnan(values).any():
        row = rows.iloc[int(np.argmax(np.isnan(values)))]
        seed = f", seed {row['seed']}" if by_seed else ""
        raise InputError(
            f"checkpoint of size {row['size']!r}, ptpp {row['ptpp']:g}{seed}: no zero-shot row "
            f"(atpp = 0) of the base domains {', '.join(domains)}"
        )
    return rows.assign(base_loss=values)


def fit_base_loss(measured: pd.DataFrame) -> FittedLaw:
    """Fit the law `tied` of base loss in N and in pre-training tokens P N.

    `measured` needs n_params, ptpp and base_loss. Raises InputError as `fit` does.
    """
    if measured["n_params"].nunique() < 2:
        raise InputError("checkpoints of 1 size cannot determine how base loss falls with size")
    table = measured[["n_params"]].assign(loss=measured["base_loss"])
    return fit("tied", table.assign(adapt_tokens=measured["ptpp"] * measured["n_params"]))


def forecast_base_loss(fitted: FittedLaw, n_params: ArrayLike, ptpp: ArrayLike) -> NDArray:
    """Base loss (n,), nats per token, of checkpoints that need not exist, by `fit_base_loss`."""
    return fitted.value(base_loss_inputs(n_params, ptpp))


def base_loss_inputs(n_params: ArrayLike, ptpp: ArrayLike) -> dict[str, NDArray]:
    """What the law of the base loss reads of checkpoints (n,)."""
    n, p = np.atleast_1d(np.asarray(n_params, float)), np.atleast_1d(np.asarray(ptpp, float))
    return {"n_params": n, "adapt_tokens": p * n}
