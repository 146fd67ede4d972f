"""What a carried-out plan leaves beside the model: the comparison, the card, and words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ptpp.jobs.files import atomic_directory, write_text
from ptpp.laws.fitted import FittedLaw
from ptpp.models.card import Origin, model_card
from ptpp.models.checkpoint import weights_digest
from ptpp.planning.applied import ChosenPlan, compare_losses, outcome_sentence
from ptpp.planning.forecast import forgetting_fits
from ptpp.report.tables import to_text
from ptpp.table.columns import COLUMNS
from ptpp.table.observations import read_observations
from ptpp.training.application import ApplyJob


@dataclass(frozen=True)
class Outcome:
    """`comparison`: by `compare_losses`. `before`, `after`: rows of an observation table."""

    comparison: pd.DataFrame
    before: pd.DataFrame
    after: pd.DataFrame

    def lines(self) -> list[str]:
        """The outcome in words, and the comparison."""
        shown = self.comparison.iloc[:, : list(self.comparison).index("law")]
        return [outcome_sentence(self.comparison), *to_text(shown).rstrip("\n").split("\n")]


def judge(job: ApplyJob, plan: ChosenPlan, fits: Sequence[FittedLaw]) -> Outcome:
    """Compare what a finished job measured with what `fits`, a target law's and those of forgetting
    laws, predict, and put the model's card into its folder.
    """
    (target,) = (one for one in fits if not one.law.offset)
    before, after = map(read_observations, (job.zero_shot, job.observations))
    others = forgetting_fits(fits, target.record.protocol)
    comparison = compare_losses(plan, target, others, before, after)
    write_text(Path(job.adapted) / "README.md", _card(job, plan, comparison, before))
    return Outcome(comparison, before, after)


def leave_empty(outputs: Mapping[str, str], why: str) -> None:
    """Leave a job's outputs where nothing was adapted: tables without rows, and a note `why`.

    outputs: by the names of `ApplyJob.outputs`.
    """
    for name in ("zero_shot", "observations", "cost"):
        write_text(outputs[name], ",".join(COLUMNS) + "\n" if name != "cost" else "run\n")
    with atomic_directory(outputs["adapted"]) as folder:
        (folder / "README.md").write_text(f"{why}\n")


def _card(job: ApplyJob, plan: ChosenPlan, comparison: pd.DataFrame, before: pd.DataFrame) -> str:
    mix: Mapping[str, float] = job.text["base"]
    origin = Origin(
        base=str(job.checkpoint),
        digest=weights_digest(job.checkpoint),
        target=job.text["target"],
        mix={name: share / sum(mix.values()) for name, share in mix.items()},
        law=plan.law,
        kind=plan.kind,
        n_params=job.n_params,
        ptpp=job.ptpp,
        replay=job.replay,
        atpp=job.atpp,
        tokens=int(comparison["adapt_tokens"].iloc[0]),
        learning_rate=job.settings.learning_rate,
        base_width=job.settings.base_width if job.gpt2 else None,
        seed=job.model.seed,
    )
    losses = before.set_index("domain")["loss"]
    table = comparison.assign(before=losses[comparison["domain"]].to_numpy())
    return model_card(origin, table.to_dict("records"))
