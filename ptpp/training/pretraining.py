"""Pre-training: from one stage's trunk to the next stage's checkpoint."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from ptpp.errors import InputError
from ptpp.jobs.files import remove_leftovers, sha256
from ptpp.jobs.progress import NO_WATCH, Watch
from ptpp.models.backend import started
from ptpp.models.group import ALONE, Group
from ptpp.models.sizes import training_flops
from ptpp.training.engine import Diverged, Milestone, Settings, sequences_trained, train
from ptpp.training.evaluation import held_out_losses
from ptpp.training.finished import keep, restore
from ptpp.training.runs import Run, cost_of, rows_of, write_rows
from ptpp.training.state import StateFolder, fingerprint, load_tensors, save_tensors
from ptpp.training.text import Text, warn_of_repeats

log = logging.getLogger("ptpp")


def pretrain_stage(
    run: Run,
    ptpp: float,
    settings: Settings,
    text: Text,
    previous_trunk: str | Path | None,
    tokenizer: str | Path,
    checkpoint: str | Path,
    trunk: str | Path,
    zero_shot: str | Path,
    curve: str | Path,
    cost: str | Path,
    state: str | Path,
    finished: str | Path,
    save_every_s: float = 30.0,
    stopping: Callable[[], bool] = lambda: False,
    group: Group = ALONE,
    micro_batch: int | None = None,
    watch: Watch = NO_WATCH,
) -> None:
    """Train one model from the previous stage's trunk (or from scratch) to `ptpp`.

    Writes the decayed checkpoint, the trunk to go on from, the checkpoint's held-out losses as
    zero-shot observations (ATPP 0), the trunk's training curve and what it cost; the folder
    `finished` keeps links to them, from which a stage that was trained before is put back. All
    processes of a `group` call this alike; `micro_batch` is in sequences. Raises Diverged when a
    loss is not finite or the base loss ends no better than a uniform guess, Interrupted when
    `stopping` turns true.
    """
    began = time.monotonic()
    watch = watch.for_run(f"{run.model}.ptpp{ptpp:g}", training_flops(run.n_params, 1))
    outputs = {
        "checkpoint": checkpoint,
        "trunk": trunk,
        "zero_shot": zero_shot,
        "curve": curve,
        "cost": cost,
    }
    backend = started(run.shape, run.seed, run.device, group, micro_batch)
    start, points = 0, []
    if previous_trunk is not None:
        try:
            tensors, meta = load_tensors(Path(previous_trunk))
        except InputError as error:
            raise InputError(f"{error}; delete it and run again, to train its stage anew") from None
        backend.restore(tensors, "trunk")
        start, points = meta["position"], meta["points"]
    context = run.shape.context
    milestone = Milestone.at(ptpp, run.n_params, context, settings)
    mixture = text.mixture(text.base, run.seed, "pretraining", context)
    what = f"{run.model} pre-training to PTPP {ptpp:g}"
    warn_of_repeats(what, mixture, milestone.end)
    blocks = text.evaluation(context)

    def at_milestone(_: Milestone) -> dict:
        losses = held_out_losses(backend, blocks)
        for domain, loss in losses.items():
            if not math.isfinite(loss):
                raise Diverged(f"{what}: {domain} loss is {loss}; lower pretraining.learning_rate")
        worst = max(text.base, key=lambda language: losses[language])
        if not losses[worst] < math.log(run.shape.vocab_size):
            raise Diverged(
                f"{what}: {worst} loss {losses[worst]:.3f} nats is no better than a uniform guess; "
                "lower pretraining.learning_rate"
            )
        backend.save(checkpoint, tokenizer, text.of_checkpoint())
        return losses

    identity = [asdict(run), ptpp, asdict(settings), text.identity(), torch.__version__]
    identity.append(sha256(previous_trunk) if previous_trunk is not None else "")
    digest = fingerprint(identity)
    folder = StateFolder(state, digest, group.leads)
    with folder.locked():
        put_back = False
        if group.leads:
            for path in outputs.values():
                remove_leftovers(path)
            put_back = restore(finished, digest, outputs)
        (put_back,) = group.any(put_back)
        if put_back:
            log.info("%s: trained before", what)
            folder.remove()
            return
        records, made = train(
            backend,
            mixture,
            settings,
            [milestone],
            at_milestone,
            folder,
            what,
            start,
            save_every_s,
            stopping,
            watch=watch,
        )
        points += [[p * context, loss] for p, loss in made.points]
        meta = {"position": max(milestone.branch, start), "points": points}
        kept = backend.whole(backend.state("trunk"))
        if not group.leads:
            return
        save_tensors(Path(trunk), kept, meta)
        name = f"{run.model}.ptpp{ptpp:g}.zero_shot"
        write_rows(rows_of(run, name, ptpp, 0.0, 0.0, 0, records[0], text), zero_shot)
        who = {"model": run.model, "size": run.size, "seed": run.seed, "n_params": run.n_params}
        write_rows([who | {"tokens": tokens, "loss": loss} for tokens, loss in points], curve)
        tokens = sequences_trained([milestone], start) * context
        write_rows([cost_of(run, f"{run.model}.ptpp{ptpp:g}", tokens, began, group.size)], cost)
        keep(finished, digest, outputs)
        folder.remove()
