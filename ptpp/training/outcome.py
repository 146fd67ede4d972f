"""What a carried-out plan leaves beside the model: the comparison, the card, and words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ptpp.jobs.files import atomic_directory, write_text
from ptpp.laws.fitted import FittedLaw
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
    write_text(Path(job.adapted) / "README.md", model_card(job, plan, comparison, before))
    return Outcome(comparison, before, after)


def leave_empty(outputs: Mapping[str, str], why: str) -> None:
    """Leave a job's outputs where nothing was adapted: tables without rows, and a note `why`.

    outputs: by the names of `ApplyJob.outputs`.
    """
    for name in ("zero_shot", "observations", "cost"):
        write_text(outputs[name], ",".join(COLUMNS) + "\n" if name != "cost" else "run\n")
    with atomic_directory(outputs["adapted"]) as folder:
        (folder / "README.md").write_text(f"{why}\n")


def model_card(
    job: ApplyJob, plan: ChosenPlan, comparison: pd.DataFrame, before: pd.DataFrame
) -> str:
    """README.md of the adapted checkpoint's folder: what it was made from, and how good it is.

    comparison: by `compare_losses`; before: the checkpoint's own losses.
    """
    target, base, parameters = job.text["target"], job.text["base"], f"{job.n_params:,}"
    total = sum(base.values())
    mix = ", ".join(f"{name} {100 * (share / total):.3g} %" for name, share in base.items())
    width = f" at width {job.settings.base_width}" if job.gpt2 else ""  # of hidden matrices
    tokens = int(comparison["adapt_tokens"].iloc[0])
    facts = {
        "adapted from": f"`{job.checkpoint}`, at {job.ptpp:g} pre-training tokens per parameter",
        "its weights, SHA-256": f"`{weights_digest(job.checkpoint)}`",
        "parameters": parameters,
        "adapted to": target,
        "replay": f"{100 * job.replay:.4g} % of the tokens: {mix}",
        "tokens": f"{tokens:,}, {job.atpp:.4g} per parameter (ATPP)",
        "peak learning rate": f"{job.settings.learning_rate:g}{width} (AdamW)",
        "seed": f"{job.model.seed}",
        "plan": f"{plan.kind}, by the law {plan.law}",
    }
    losses = before.set_index("domain")["loss"]
    rows = [
        (
            each["domain"],
            *map(_nats, (losses[each["domain"]], each["measured"], each["predicted"])),
            f"{_nats(each['lower'])} to {_nats(each['upper'])}",
        )
        for each in comparison.to_dict("records")
    ]
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\n"
        "tags: [continual-pretraining, ptpp]\n---",
        f"# {target}, {parameters} parameters",
        "Made by `ptpp`: a checkpoint adapted at the replay ratio and budget of a compute plan.",
        _table(["", ""], [[f"**{name}**", value] for name, value in facts.items()]),
        "Held-out loss, nats per token: before adaptation, after it, and as a law fitted to other "
        "runs predicted it, with the 90 % interval of one measurement.",
        _table(["domain", "before", "measured", "predicted", "90 % interval"], rows),
        "    from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        '    model = AutoModelForCausalLM.from_pretrained("this folder")\n'
        '    tokenizer = AutoTokenizer.from_pretrained("this folder")',
    ]
    return "\n\n".join(parts) + "\n"


def _nats(value: object) -> str:
    number = float(value)
    return "\N{EN DASH}" if number != number else f"{number:.4f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
