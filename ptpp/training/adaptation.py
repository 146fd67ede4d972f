"""Continual pre-training (CPT): one checkpoint adapted at several replay ratios by one process."""

import contextlib
import csv
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from ptpp.errors import InputError
from ptpp.jobs.files import read_json, write_json
from ptpp.jobs.progress import NO_WATCH, Watch
from ptpp.models.backend import Backend, opened
from ptpp.models.checkpoint import text_of, weights_digest
from ptpp.models.group import ALONE, Group
from ptpp.models.sizes import training_flops
from ptpp.training.data import adaptation_shares
from ptpp.training.engine import Diverged, Milestone, Settings, sequences_trained, train
from ptpp.training.evaluation import held_out_losses
from ptpp.training.runs import Run, cost_of, rows_of, write_rows
from ptpp.training.state import StateFolder, fingerprint
from ptpp.training.text import Text, warn_of_repeats

log = logging.getLogger("ptpp")


def adapt(
    run: Run,
    ptpp: float,
    replays: Sequence[float],
    atpp: Sequence[float],
    settings: Settings,
    text: Text,
    checkpoint: str | Path,
    zero_shot: str | Path,
    observations: str | Path,
    costs: str | Path,
    state: str | Path,
    finished: str | Path,
    save_every_s: float = 30.0,
    stopping: Callable[[], bool] = lambda: False,
    group: Group = ALONE,
    micro_batch: int | None = None,
    watch: Watch = NO_WATCH,
) -> None:
    """Adapt one checkpoint at every replay ratio and measure every ATPP of the grid.

    Writes one observation per replay ratio, ATPP and domain, and the cost of each trajectory.
    Trajectories are kept in the folder `finished` under the digest of everything that decides
    their numbers, so that neither a kill nor a longer list of ratios trains one of them again. All
    processes of a `group` call this alike; `micro_batch` is in sequences. Raises Diverged when the
    target loss ends above the checkpoint's own although target text was trained on, Interrupted
    when `stopping` turns true.
    """
    backend = opened(checkpoint, run.trained, run.shape.context, run.device, group, micro_batch)
    if not text.agrees(text_of(checkpoint)):
        raise InputError(
            f"{checkpoint}: trained or measured on other text than the token stores hold now; "
            "delete it and run again, so that it is made anew"
        )
    # What every trajectory starts from; where there is but one, the model as it was read.
    untouched = backend.state("checkpoint") if len(replays) > 1 else {}
    before = _loss_before(zero_shot, text.target)
    common = [asdict(run), ptpp, sorted(atpp), asdict(settings), text.identity(), torch.__version__]
    common += [before, weights_digest(checkpoint)]
    trajectories = []
    for part, replay in enumerate(replays):
        name = f"{run.model}.ptpp{ptpp:g}.replay{replay:g}"
        one = watch.for_run(name, training_flops(run.n_params, 1), part, len(replays))
        digest = fingerprint([*common, replay])
        kept = Path(finished) / f"{digest}.json"
        trajectory = _remembered(kept) if group.leads else None
        (remembered,) = group.any(trajectory is not None)
        if remembered:
            log.info("%s at replay %g: measured before", run.model, replay)
        else:
            if untouched:
                backend.restore(untouched, "checkpoint")
            folder = StateFolder(Path(state) / f"replay{replay:g}", digest, group.leads)
            with folder.locked():
                trajectory = _trajectory(
                    run, backend, ptpp, replay, sorted(atpp), settings, text, before, folder,
                    save_every_s, stopping, one,
                )  # fmt: skip
                if group.leads:
                    kept_as = {"digest": fingerprint(trajectory), "trajectory": trajectory}
                    write_json(kept, kept_as)
                folder.remove()
        trajectories.append(trajectory)
    if not group.leads:
        return
    with contextlib.suppress(OSError):
        Path(state).rmdir()  # not while another job still has its trajectories there
    write_rows([row for trajectory in trajectories for row in trajectory["rows"]], observations)
    write_rows([trajectory["cost"] for trajectory in trajectories], costs)


def _loss_before(zero_shot: str | Path, target: str) -> float:
    """The checkpoint's own loss on the target, nats, from its zero-shot table."""
    try:
        with open(zero_shot, newline="") as stream:
            before = {row["domain"]: float(row["loss"]) for row in csv.DictReader(stream)}[target]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{zero_shot}: holds no loss of {target} ({error!r})") from None
    if not math.isfinite(before):
        raise InputError(f"{zero_shot}: loss of {target} is {before}, expected a finite number")
    return before


def _remembered(path: Path) -> dict | None:
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


def _trajectory(
    run: Run,
    backend: Backend,
    ptpp: float,
    replay: float,
    atpp: Sequence[float],
    settings: Settings,
    text: Text,
    before: float,
    folder: StateFolder,
    save_every_s: float,
    stopping: Callable[[], bool],
    watch: Watch,
) -> dict:
    """Train at one replay ratio through every ATPP; returns its rows and its cost."""
    began = time.monotonic()
    context = run.shape.context
    milestones = [Milestone.at(budget, run.n_params, context, settings) for budget in atpp]
    shares = adaptation_shares(text.target, text.base, replay)
    mixture = text.mixture(shares, run.seed, "adaptation", context)
    what = f"{run.model} CPT from PTPP {ptpp:g} at replay {replay:g}"
    warn_of_repeats(what, mixture, milestones[-1].end)
    blocks = text.evaluation(context)

    def at_milestone(milestone: Milestone) -> dict:
        losses = held_out_losses(backend, blocks)
        for domain, loss in losses.items():
            if not math.isfinite(loss):
                raise Diverged(f"{what}: {domain} loss is {loss} at ATPP {milestone.budget:g}")
        if replay < 1 and losses[text.target] > before:
            raise Diverged(
                f"{what}: {text.target} loss {losses[text.target]:.3f} nats at ATPP "
                f"{milestone.budget:g} is above the checkpoint's own {before:.3f}; "
                "lower adaptation.rewarm or the learning rate"
            )
        return losses

    records, _ = train(
        backend,
        mixture,
        settings,
        milestones,
        at_milestone,
        folder,
        what,
        save_every_s=save_every_s,
        stopping=stopping,
        watch=watch,
    )
    name = f"{run.model}.ptpp{ptpp:g}.replay{replay:g}"
    rows = []
    for milestone, losses in zip(milestones, records, strict=True):
        tokens = milestone.end * context
        rows += rows_of(run, name, ptpp, replay, milestone.budget, tokens, losses, text)
    tokens = sequences_trained(milestones) * context
    return {"rows": rows, "cost": cost_of(run, name, tokens, began, backend.group.size)}
