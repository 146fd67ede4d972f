"""Continual pre-training (CPT): one checkpoint adapted at several replay ratios by one process."""

import contextlib
import csv
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
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


def adapt(job: AdaptJob, process: Process = SINGLE) -> None:
    """Adapt one checkpoint at every replay ratio and measure every ATPP of the grid.

    Writes one observation per replay ratio, ATPP and domain, and the cost of each trajectory.
    Trajectories are kept in the folder `job.finished` under the digest of everything that decides
    their numbers, so that neither a kill nor a longer list of ratios trains one of them again. All
    processes of a group call this alike. Raises Diverged when a loss is not finite, Interrupted
    when the process is asked to stop.
    """
    is_main, place = process.group.is_main, job.placement(process.group)
    if job.gpt2 is None:  # again: two stages may have been adopted at the same time
        check_other_stages(job.checkpoint)
    backend = open_model(job.checkpoint, job.gpt2, job.model.context, place)
    text = Text.open(**job.text)
    if not text.agrees(text_of(job.checkpoint)):
        raise InputError(
            f"{job.checkpoint}: trained or measured on other text than the token stores hold now; "
            "delete it and run again, so that it is made anew"
        )
    zero_shot = _zero_shot_loss(job.zero_shot, text.target)
    read = [text.identity(job.model.context), weights_digest(job.checkpoint)]
    identity = [*job.identity(), sorted(job.atpp), *read]
    digests = {replay: fingerprint([*identity, replay]) for replay in job.replays}
    kept = {
        replay: Path(job.finished) / f"{fingerprint([digest, job.code])}.json"
        for replay, digest in digests.items()
    }
    done: dict[float, dict] = {}

    def watch(replays: Sequence[float]) -> Watch:
        """Of a run, or of several at once, which then count as one that is as long as all."""
        flops, count = training_flops(job.n_params, 1), len(replays)
        parts = len(done) / count, len(job.replays) / count
        return process.watch.for_run(_run(job, replays[0]), flops, *parts)

    for replay in job.replays:
        trajectory = _read_trajectory(kept[replay]) if is_main else None
        (is_done,) = process.group.any(trajectory is not None)
        if is_done:
            log.info("%s at replay %g: measured before", job.model.name, replay)
            watch([replay])
            done[replay] = trajectory
    left, is_trained = [replay for replay in job.replays if replay not in done], False
    at_once = 1
    if process.watch.events is None and left:  # whose curves are of one run each
        at_once = stack_size(backend, job.settings.batch, len(left))
    queue = [left[start : start + at_once] for start in range(0, len(left), at_once)]
    while queue:
        replays = queue.pop(0)
        if is_trained:
            backend.reload(job.checkpoint)
        is_trained = True
        digest = digests[replays[0]]
        if len(replays) > 1:
            digest = fingerprint([digests[replay] for replay in replays])
        name = "replay" + "+".join(f"{replay:g}" for replay in replays)
        state = StateFolder(Path(job.state) / name, digest, process.group)
        with state.lock():
            watched = replace(process, watch=watch(replays))
            try:
                found = _train_at(replays, job, text, zero_shot, backend, state, watched)
            except (Diverged, torch.OutOfMemoryError) as error:
                if len(replays) == 1:
                    raise
                log.warning("%s; goes on with one run after another", error)
                queue[:0] = [[replay] for replay in replays]
                state.remove()
                continue
            for replay, trajectory in zip(replays, found, strict=True):
                if is_main:
                    written = {"digest": fingerprint(trajectory), "trajectory": trajectory}
                    write_json(kept[replay], written)
                done[replay] = trajectory
            state.remove()
    if is_main:
        with contextlib.suppress(OSError):
            Path(job.state).rmdir()  # not while another job still has its trajectories there
        every = [done[replay] for replay in job.replays]
        write_rows([row for each in every for row in each["rows"]], job.observations)
        write_rows([each["cost"] for each in every], job.costs)


def _train_at(
    replays: Sequence[float],
    job: AdaptJob,
    text: Text,
    zero_shot: float,
    backend: Backend,
    state: StateFolder,
    process: Process,
) -> list[dict]:
    """Train at a replay ratio, or at several at once, through every ATPP; the rows and the cost of
    each.

    zero_shot: the checkpoint's own loss on the target, nats.
    """
    target, context, settings = text.target, job.model.context, job.settings
    milestones = [Milestone.at(each, job.n_params, context, settings) for each in sorted(job.atpp)]
    mixtures, names = [], []
    for replay in replays:
        shares = adaptation_shares(target, text.base, replay)
        mixtures.append(text.mixture(shares, job.model.seed, "adaptation", context))
        names.append(f"{job.model.name} CPT from PTPP {job.ptpp:g} at replay {replay:g}")
        warn_of_repeats(names[-1], mixtures[-1], milestones[-1].end)
    what, mixture, stack = names[0], mixtures[0], None
    if len(replays) > 1:
        what += "".join(f", {replay:g}" for replay in replays[1:])
        mixture, stack = Mixtures(mixtures), Stack(backend, len(replays))
    blocks = text.evaluation(context)
    task = Task(what, mixture, settings, milestones, save_every_s=job.runtime.save_every_s)
    trajectory = Trajectory()
    for milestone in train(task, stack or backend, trajectory, state, process):
        measured = []
        for place, (replay, name) in enumerate(zip(replays, names, strict=True)):
            if stack is not None:
                stack.show(place)
            losses = held_out_losses(backend, blocks)
            check_finite(losses, name, f" at ATPP {milestone.budget:g}")
            if replay < 1 and losses[target] > zero_shot:
                log.warning(
                    "%s: %s loss of %.3f nats at ATPP %g is above the checkpoint's own %.3f: "
                    "adaptation.rewarm may be too high",
                    *(name, target, losses[target], milestone.budget, zero_shot),
                )
            measured.append(losses)
        trajectory.records.append(measured if stack else measured[0])
    found = []
    seconds, tokens = trajectory.total_seconds / len(replays), task.total * context
    for place, replay in enumerate(replays):
        run, rows = _run(job, replay), []
        for one, record in zip(milestones, trajectory.records, strict=True):
            losses = record[place] if stack else record
            rows += observation_rows(job, losses, text, run, replay, one.budget, one.end * context)
        cost = cost_row(job, run, tokens, seconds, process.group.size)
        found.append({"rows": rows, "cost": cost})
    return found


def _run(job: AdaptJob, replay: float) -> str:
    return f"{job.name}.replay{replay:g}"


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


def _read_trajectory(path: Path) -> dict | None:
    """A finished trajectory; None when there is none, or when its file is not what was written."""
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
