"""Continual pre-training (CPT): one checkpoint adapted at several replay ratios by one process."""

import contextlib
import csv
import logging
import math
from dataclasses import replace
from pathlib import Path

from ptpp.errors import InputError
from ptpp.jobs.files import read_json, write_json
from ptpp.models.backend import Backend, open_model
from ptpp.models.checkpoint import check_other_stages, text_of, weights_digest
from ptpp.models.sizes import training_flops
from ptpp.training.data import Text, adaptation_shares, warn_of_repeats
from ptpp.training.engine import Task, Trajectory, train
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
    trajectories, is_trained = [], False
    for part, replay in enumerate(job.replays):
        run = f"{job.name}.replay{replay:g}"
        watch = process.watch.for_run(run, training_flops(job.n_params, 1), part, len(job.replays))
        digest = fingerprint([*identity, replay])
        kept = Path(job.finished) / f"{fingerprint([digest, job.code])}.json"
        trajectory = _read_trajectory(kept) if is_main else None
        (is_done,) = process.group.any(trajectory is not None)
        if is_done:
            log.info("%s at replay %g: measured before", job.model.name, replay)
        else:
            if is_trained:
                backend.reload(job.checkpoint)
            is_trained = True
            state = StateFolder(Path(job.state) / f"replay{replay:g}", digest, process.group)
            with state.lock():
                watched = replace(process, watch=watch)
                trajectory = _train_at(replay, job, text, zero_shot, backend, state, watched)
                if is_main:
                    kept_as = {"digest": fingerprint(trajectory), "trajectory": trajectory}
                    write_json(kept, kept_as)
                state.remove()
        trajectories.append(trajectory)
    if is_main:
        with contextlib.suppress(OSError):
            Path(job.state).rmdir()  # not while another job still has its trajectories there
        write_rows([row for each in trajectories for row in each["rows"]], job.observations)
        write_rows([each["cost"] for each in trajectories], job.costs)


def _train_at(
    replay: float,
    job: AdaptJob,
    text: Text,
    zero_shot: float,
    backend: Backend,
    state: StateFolder,
    process: Process,
) -> dict:
    """Train at one replay ratio through every ATPP; returns its rows and its cost.

    zero_shot: the checkpoint's own loss on the target, nats.
    """
    target, context, settings = text.target, job.model.context, job.settings
    milestones = [Milestone.at(each, job.n_params, context, settings) for each in sorted(job.atpp)]
    shares = adaptation_shares(target, text.base, replay)
    mixture = text.mixture(shares, job.model.seed, "adaptation", context)
    what = f"{job.model.name} CPT from PTPP {job.ptpp:g} at replay {replay:g}"
    warn_of_repeats(what, mixture, milestones[-1].end)
    blocks = text.evaluation(context)
    task = Task(what, mixture, settings, milestones, save_every_s=job.runtime.save_every_s)
    trajectory = Trajectory()
    for milestone in train(task, backend, trajectory, state, process):
        losses = held_out_losses(backend, blocks)
        check_finite(losses, what, f" at ATPP {milestone.budget:g}")
        if replay < 1 and losses[target] > zero_shot:
            log.warning(
                "%s: %s loss of %.3f nats at ATPP %g is above the checkpoint's own %.3f: "
                "adaptation.rewarm may be too high",
                *(what, target, losses[target], milestone.budget, zero_shot),
            )
        trajectory.records.append(losses)
    run, rows = f"{job.name}.replay{replay:g}", []
    for one, losses in zip(milestones, trajectory.records, strict=True):
        place = (run, replay, one.budget, one.end * context)
        rows += observation_rows(job, losses, text, *place)
    tokens, devices = task.total * context, process.group.size
    return {"rows": rows, "cost": cost_row(job, run, tokens, trajectory.total_seconds, devices)}


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
