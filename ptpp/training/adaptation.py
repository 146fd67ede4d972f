"""Continual pre-training (CPT): one checkpoint adapted at several replay ratios by one process."""

import contextlib
import csv
import gc
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from ptpp.errors import Diverged, InputError
from ptpp.jobs.files import read_json, write_json
from ptpp.jobs.progress import Watch
from ptpp.models.backend import Backend, open_model
from ptpp.models.checkpoint import check_other_stages, text_of, weights_digest
from ptpp.models.sizes import training_flops
from ptpp.models.stack import Stack, stack_size
from ptpp.training.data import Text, adaptation_shares, warn_of_repeats
from ptpp.training.engine import Task, Trajectory, train
from ptpp.training.feeding import Mixtures
from ptpp.training.job import SINGLE, AdaptJob, Process, fingerprint
from ptpp.training.measurement import (
    check_finite,
    cost_row,
    held_out_losses,
    observation_rows,
    write_rows,
)
from ptpp.training.schedule import Milestone
from ptpp.training.state import StateFolder

log = logging.getLogger("ptpp")

_PREFIX = "replay"  # of the folders of unfinished training; the ratios follow


def adapt(job: AdaptJob, process: Process = SINGLE) -> None:
    """Adapt one checkpoint at every replay ratio and measure every ATPP of the grid.

    Writes one observation per replay ratio, ATPP and domain, and the cost of each trajectory.
    Trajectories are kept in the folder `job.finished` under the digest of everything that decides
    their numbers, so that neither a kill nor a longer list of ratios trains one of them again. A
    small model on a GPU is trained at several ratios at once (`stack_size`). All processes of a
    group call this alike. Raises Diverged when a loss is not finite, Interrupted when the process
    is asked to stop.
    """
    group = process.group
    if job.gpt2 is None:  # again: two stages may have been adopted at the same time
        check_other_stages(job.checkpoint)
    backend = open_model(job.checkpoint, job.gpt2, job.model.context, job.placement(group))
    text = Text.open(**job.text)
    if not text.agrees(text_of(job.checkpoint)):
        raise InputError(
            f"{job.checkpoint}: trained or measured on other text than the token stores hold now; "
            "delete it and run again, so that it is made anew"
        )
    sweep = _Sweep(job, process, backend, text, _zero_shot_loss(job.zero_shot, text.target))
    done: dict[float, dict] = {}
    for replay in job.replays:
        trajectory = sweep.read(replay) if group.is_main else None
        (is_kept,) = group.any(trajectory is not None)
        if is_kept:
            log.info("%s at replay %g: measured before", job.model.name, replay)
            sweep.watch([replay], len(done))
            done[replay] = trajectory
    left, at_once = [replay for replay in job.replays if replay not in done], 1
    if left and process.watch.events is None:  # whose curves are of one run each
        at_once = stack_size(backend, job.settings.batch, len(left))
    queue = [left[start : start + at_once] for start in range(0, len(left), at_once)]
    is_trained = False
    while queue:
        replays = queue.pop(0)
        if is_trained:
            backend.reload(job.checkpoint)
        is_trained = True
        state = sweep.state(replays)
        with state.lock():
            try:
                trajectories = sweep.train(replays, state, sweep.watch(replays, len(done)))
            except (Diverged, torch.OutOfMemoryError) as error:
                if len(replays) == 1:
                    raise
                log.warning("%s; goes on with one ratio after another", error)
                queue[:0] = [[replay] for replay in replays]
            else:
                if group.is_main:
                    for replay, trajectory in zip(replays, trajectories, strict=True):
                        sweep.keep(replay, trajectory)
                done |= dict(zip(replays, trajectories, strict=True))
            state.remove()
        if len(replays) > 1:
            gc.collect()  # a stack and its recorded steps hold each other, and memory of the GPU
    if group.is_main:
        sweep.remove_old_states()
        with contextlib.suppress(OSError):
            Path(job.state).rmdir()  # not while another job still has its trajectories there
        every = [done[replay] for replay in job.replays]
        write_rows([row for each in every for row in each["rows"]], job.observations)
        write_rows([each["cost"] for each in every], job.costs)


@dataclass(frozen=True)
class _Sweep:
    """What the trajectories of a job share; several `replays` are those trained at once.

    zero_shot: the checkpoint's own loss on the target, nats.
    """

    job: AdaptJob
    process: Process
    backend: Backend
    text: Text
    zero_shot: float

    @cached_property
    def _identity(self) -> list:
        read = [self.text.identity(self.job.model.context), weights_digest(self.job.checkpoint)]
        return [*self.job.identity(), sorted(self.job.atpp), *read]

    def _digest(self, replay: float) -> str:
        return fingerprint([*self._identity, replay])

    def _kept(self, replay: float) -> Path:
        name = fingerprint([self._digest(replay), self.job.code])
        return Path(self.job.finished) / f"{name}.json"

    def keep(self, replay: float, trajectory: Mapping) -> None:
        """Write a finished trajectory."""
        record = {"digest": fingerprint(trajectory), "trajectory": trajectory}
        write_json(self._kept(replay), record)

    def read(self, replay: float) -> dict | None:
        """A finished trajectory; None when there is none, or its file is not what was written."""
        path = self._kept(replay)
        if not path.exists():
            return None
        try:
            kept = read_json(path)
            if kept["digest"] == fingerprint(kept["trajectory"]):
                return kept["trajectory"]
        except (InputError, KeyError, TypeError):
            pass
        log.warning("%s: damaged; this trajectory is trained and measured again", path)
        return None

    def state(self, replays: Sequence[float]) -> StateFolder:
        """Of unfinished training."""
        digests = [self._digest(replay) for replay in replays]
        digest = digests[0] if len(digests) == 1 else fingerprint(digests)
        name = _PREFIX + "+".join(f"{replay:g}" for replay in replays)
        return StateFolder(Path(self.job.state) / name, digest, self.process.group)

    def remove_old_states(self) -> None:
        """Remove saved states that no run goes on from, once every ratio of the job is finished.

        Earlier starts leave them where they trained other ratios at once, as memory had it then.
        Those of ratios that other jobs train stay, and any that a process holds.
        """
        finished = {f"{replay:g}" for replay in self.job.replays}
        for folder in Path(self.job.state).glob(f"{_PREFIX}*"):
            if finished.isdisjoint(folder.name.removeprefix(_PREFIX).split("+")):
                continue
            state = StateFolder(folder, "")
            with contextlib.suppress(InputError), state.lock():
                state.remove()

    def watch(self, replays: Sequence[float], done: int) -> Watch:
        """Of a run after `done` others; several at once count as one that is as long as all."""
        flops, count = training_flops(self.job.n_params, 1), len(replays)
        parts = done / count, len(self.job.replays) / count
        return self.process.watch.for_run(self._run(replays[0]), flops, *parts)

    def _run(self, replay: float) -> str:
        return f"{self.job.name}.replay{replay:g}"

    def train(self, replays: Sequence[float], state: StateFolder, watch: Watch) -> list[dict]:
        """Train through every ATPP and measure each; the rows and the cost of every trajectory."""
        job, text, settings, context = self.job, self.text, self.job.settings, self.backend.context
        budgets = sorted(job.atpp)
        milestones = [Milestone.at(each, job.n_params, context, settings) for each in budgets]
        mixtures, names = [], []
        for replay in replays:
            shares = adaptation_shares(text.target, text.base, replay)
            mixtures.append(text.mixture(shares, job.model.seed, "adaptation", context))
            names.append(f"{job.model.name} CPT from PTPP {job.ptpp:g} at replay {replay:g}")
            warn_of_repeats(names[-1], mixtures[-1], milestones[-1].end)
        what, mixture, stack = names[0], mixtures[0], None
        if len(replays) > 1:
            what += "".join(f", {replay:g}" for replay in replays[1:])
            mixture, stack = Mixtures(mixtures), Stack(self.backend, len(replays))
        blocks = text.evaluation(context)
        task = Task(what, mixture, settings, milestones, save_every_s=job.runtime.save_every_s)
        trajectory, process = Trajectory(), replace(self.process, watch=watch)
        for milestone in train(task, stack or self.backend, trajectory, state, process):
            measured = []
            for place, (replay, name) in enumerate(zip(replays, names, strict=True)):
                if stack is not None:
                    stack.show(place)
                losses = held_out_losses(self.backend, blocks)
                check_finite(losses, name, f" at ATPP {milestone.budget:g}")
                if replay < 1 and losses[text.target] > self.zero_shot:
                    log.warning(
                        "%s: %s loss of %.3f nats at ATPP %g is above the checkpoint's own %.3f: "
                        "adaptation.rewarm may be too high",
                        *(name, text.target, losses[text.target], milestone.budget, self.zero_shot),
                    )
                measured.append(losses)
            trajectory.records.append(measured if stack else measured[0])
        trajectories = []
        seconds, tokens = trajectory.total_seconds / len(replays), task.total * context
        for place, replay in enumerate(replays):
            run, rows = self._run(replay), []
            for one, record in zip(milestones, trajectory.records, strict=True):
                at = run, replay, one.budget, one.end * context
                rows += observation_rows(job, record[place] if stack else record, text, *at)
            cost = cost_row(job, run, tokens, seconds, process.group.size)
            trajectories.append({"rows": rows, "cost": cost})
        return trajectories


def _zero_shot_loss(zero_shot: str | Path, target: str) -> float:
    """The checkpoint's own loss on the target, nats, from its zero-shot table."""
    try:
        with open(zero_shot, newline="") as stream:
            loss = {row["domain"]: float(row["loss"]) for row in csv.DictReader(stream)}[target]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{zero_shot}: holds no loss of {target} ({error!r})") from None
    if not math.isfinite(loss):
        raise InputError(f"{zero_shot}: loss of {target} is {loss}, expected a finite number")
    return loss
