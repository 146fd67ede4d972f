"""A plan carried out: one checkpoint adapted at one replay ratio and budget, measured and saved."""

import logging
import typing
from dataclasses import dataclass, replace
from pathlib import Path

from ptpp.errors import InputError
from ptpp.jobs.files import remove_leftovers
from ptpp.models.backend import open_model
from ptpp.models.checkpoint import text_of, weights_digest
from ptpp.models.sizes import training_flops
from ptpp.training.data import Text, adaptation_shares, warn_of_repeats
from ptpp.training.engine import Task, Trajectory, train
from ptpp.training.job import SINGLE, OptimisedJob, Process, fingerprint
from ptpp.training.measurement import (
    check_finite,
    cost_row,
    held_out_losses,
    observation_rows,
    write_rows,
)
from ptpp.training.pretraining import keep, put_back
from ptpp.training.schedule import Milestone
from ptpp.training.state import StateFolder

log = logging.getLogger("ptpp")

OUTPUTS = ("adapted", "zero_shot", "observations", "cost")


@dataclass(frozen=True, kw_only=True)
class ApplyJob(OptimisedJob):
    """Adapt one checkpoint at one replay ratio and ATPP, and keep the model.

    adapted: the folder of the adapted model. tokenizer: the folder of the tokenizer that it gets.
    zero_shot, observations: losses before and after, as rows of an observation table.
    """

    kind: typing.ClassVar[str] = "apply"
    replay: float
    atpp: float
    tokenizer: str
    adapted: str
    observations: str
    cost: str

    @property
    def run_name(self) -> str:
        """The run in tables; no trajectory of a sweep is called so."""
        return f"{self.name}.plan.replay{self.replay:g}.atpp{self.atpp:g}"

    def outputs(self) -> dict[str, str]:
        return {name: getattr(self, name) for name in OUTPUTS}


def apply(job: ApplyJob, process: Process = SINGLE) -> None:
    """Adapt the checkpoint, save it, and write its losses before and after, and the cost.

    At a replay ratio and ATPP of a sweep the losses are those of the sweep, to the bit on a CPU.
    The folder `job.finished` keeps links to the outputs, from which they are put back. All
    processes of a group call this alike. Raises InputError where the token stores hold other text
    than the checkpoint was measured on, Diverged when a loss is not finite, Interrupted when the
    process is asked to stop.
    """
    watch = process.watch.for_run(job.run_name, training_flops(job.n_params, 1))
    process = replace(process, watch=watch)
    is_main, context = process.group.is_main, job.model.context
    text = Text.open(**job.text)
    if not text.agrees(text_of(job.checkpoint)):
        raise InputError(
            f"{job.checkpoint}: trained or measured on other text than the token stores hold; "
            "accepted are the stores it was measured on, at as many evaluation tokens"
        )
    backend = open_model(job.checkpoint, job.gpt2, job.model.context, job.placement(process.group))
    milestone = Milestone.at(job.atpp, job.n_params, context, job.settings)
    shares = adaptation_shares(text.target, text.base, job.replay)
    mixture = text.mixture(shares, job.model.seed, "adaptation", context)
    what = f"{job.model.name} adapted from PTPP {job.ptpp:g} at replay {job.replay:g}"
    warn_of_repeats(what, mixture, milestone.end)
    task = Task(what, mixture, job.settings, [milestone], save_every_s=job.runtime.save_every_s)

    plan = [job.replay, job.atpp]
    read = [text.identity(context), weights_digest(job.checkpoint)]
    digest = fingerprint([*job.identity(), *plan, *read])
    finished_as = fingerprint([digest, job.code])
    state = StateFolder(Path(job.state), digest, process.group)
    with state.lock():
        if is_main:
            for path in job.outputs().values():
                remove_leftovers(path)
        is_there = is_main and put_back(job.finished, finished_as, job.outputs())
        (is_done,) = process.group.any(is_there)
        if is_done:
            log.info("%s: adapted before", what)
            state.remove()
            return
        blocks = text.evaluation(context)
        before = held_out_losses(backend, blocks)
        check_finite(before, job.checkpoint, "; expected a finite number")
        trajectory = Trajectory()
        for _ in train(task, backend, trajectory, state, process):
            losses = held_out_losses(backend, blocks)
            check_finite(losses, what, f" at ATPP {job.atpp:g}")
            backend.save(job.adapted, job.tokenizer, text.of_checkpoint())
            trajectory.records.append(losses)
        if not is_main:
            return
        rows = observation_rows(job, before, text, f"{job.name}.zero_shot")
        write_rows(rows, job.zero_shot)
        place = (job.run_name, job.replay, job.atpp, milestone.end * context)
        write_rows(observation_rows(job, trajectory.records[0], text, *place), job.observations)
        done = (task.total * context, trajectory.total_seconds, process.group.size)
        write_rows([cost_row(job, job.run_name, *done)], job.cost)
        keep(job.finished, finished_as, job.outputs())
        state.remove()
