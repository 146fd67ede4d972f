"""Pre-training: from one stage's trunk to the next stage's checkpoint.

Snakemake deletes the outputs of a job whose end it did not see, as when it was killed and the job
went on. A stage of pre-training is too dear for that: hard links keep its files, cost no room while
the outputs exist, and are put back instead of trained again. One set is kept per job.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from ptpp.errors import Diverged, InputError
from ptpp.jobs.files import (
    atomic_directory,
    atomic_file,
    link,
    read_json,
    remove_leftovers,
    sha256,
    write_json,
)
from ptpp.models.backend import Backend, start_model
from ptpp.models.sizes import training_flops
from ptpp.training.data import Text, warn_of_repeats
from ptpp.training.engine import Task, Trajectory, train
from ptpp.training.job import SINGLE, PretrainJob, Process, fingerprint
from ptpp.training.measurement import (
    check_finite,
    cost_row,
    held_out_losses,
    observation_rows,
    write_rows,
)
from ptpp.training.schedule import Milestone
from ptpp.training.state import StateFolder, load_tensors, save_tensors

log = logging.getLogger("ptpp")

OUTPUTS = ("checkpoint", "trunk", "zero_shot", "curve", "cost")
RECORD = "kept.json"


def pretrain(job: PretrainJob, process: Process = SINGLE) -> None:
    """Train one model from the previous stage's trunk (or from scratch) to `job.ptpp`.

    Writes the decayed checkpoint, the trunk to go on from, the checkpoint's held-out losses as
    zero-shot observations (ATPP 0), the trunk's training curve and what it cost. The folder
    `job.finished` keeps links to them, from which a stage that was trained before is put back. All
    processes of a group call this alike. Raises Diverged when a loss is not finite or the base loss
    ends no better than a uniform guess, Interrupted when the process is asked to stop.
    """
    trajectory = Trajectory()
    watch = process.watch.for_run(job.name, training_flops(job.n_params, 1))
    process = replace(process, watch=watch)
    is_main, context, settings = process.group.is_main, job.model.context, job.settings
    text = Text.open(**job.text)
    backend = start_model(job.shape, job.model.seed, job.placement(process.group))
    start, points = _go_on_from(job.previous_trunk, backend)
    milestone = Milestone.at(job.ptpp, job.n_params, context, settings)
    mixture = text.mixture(text.base, job.model.seed, "pretraining", context)
    what = f"{job.model.name} pre-training to PTPP {job.ptpp:g}"
    warn_of_repeats(what, mixture, milestone.end)
    task = Task(what, mixture, settings, [milestone], start, job.runtime.save_every_s)

    before = "" if job.previous_trunk is None else sha256(job.previous_trunk)
    digest = fingerprint([*job.identity(), text.identity(context), before])
    outputs = {name: getattr(job, name) for name in OUTPUTS}
    state = StateFolder(Path(job.state), digest, process.group)
    with state.lock():
        if is_main:
            for path in outputs.values():
                remove_leftovers(path)
        finished_as = fingerprint([digest, job.code])
        (is_done,) = process.group.any(is_main and put_back(job.finished, finished_as, outputs))
        if is_done:
            log.info("%s: trained before", what)
            state.remove()
            return
        for _ in train(task, backend, trajectory, state, process):
            losses = held_out_losses(backend, text.evaluation(context))
            check_finite(losses, what, "; lower pretraining.learning_rate")
            worst = max(text.base, key=losses.get)
            if losses[worst] >= math.log(job.model.vocab_size):
                raise Diverged(
                    f"{what}: {worst} loss {losses[worst]:.3f} nats is no better than a uniform "
                    "guess; lower pretraining.learning_rate"
                )
            backend.save(job.checkpoint, job.tokenizer, text.of_checkpoint())
            trajectory.records.append(losses)
        trunk = backend.whole(backend.state("trunk"))
        if not is_main:
            return
        points += [[position * context, loss] for position, loss in trajectory.points]
        meta = {"position": max(milestone.branch, start), "points": points}
        save_tensors(Path(job.trunk), trunk, meta)
        losses = trajectory.records[0]
        write_rows(observation_rows(job, losses, text, f"{job.name}.zero_shot"), job.zero_shot)
        model = {"model": job.model.name, "size": job.model.size, "seed": job.model.seed}
        model["n_params"] = job.n_params
        write_rows([model | {"tokens": tokens, "loss": loss} for tokens, loss in points], job.curve)
        cost = cost_row(
            job, job.name, task.total * context, trajectory.total_seconds, process.group.size
        )
        write_rows([cost], job.cost)
        keep(job.finished, finished_as, outputs)
        state.remove()


def _go_on_from(trunk: str | None, backend: Backend) -> tuple[int, list]:
    """Put the model on the previous stage's trunk; its position (sequences) and its curve."""
    if trunk is None:
        return 0, []
    try:
        tensors, meta = load_tensors(Path(trunk))
    except InputError as error:
        raise InputError(f"{error}; delete it and run again, to train its stage anew") from None
    backend.restore(tensors, "trunk")
    return meta["position"], meta["points"]


def keep(folder: str | Path, digest: str, outputs: Mapping[str, str | Path]) -> None:
    """Link `outputs` (name -> file or directory) into `folder`, replacing what it held."""
    with atomic_directory(folder) as temporary:
        sums = {}
        for name, path in outputs.items():
            path = Path(path)
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                to = temporary / name / file.relative_to(path)
                to.parent.mkdir(parents=True, exist_ok=True)
                link(file, to)
                sums[str(to.relative_to(temporary))] = sha256(file)
        write_json(temporary / RECORD, {"digest": digest, "files": sums})


def put_back(folder: str | Path, digest: str, outputs: Mapping[str, str | Path]) -> bool:
    """Put `outputs` back from `folder`; False when it does not hold them whole for `digest`."""
    folder = Path(folder)
    if not (folder / RECORD).exists():
        return False
    try:
        record = read_json(folder / RECORD)
        if record["digest"] != digest:
            return False
        if any(sha256(folder / name) != found for name, found in record["files"].items()):
            raise InputError(f"{folder}: not what was kept there")
    except (InputError, OSError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: damaged (%s); trained again", folder, error)
        return False
    for name, path in outputs.items():
        if (folder / name).is_dir():
            with atomic_directory(path) as temporary:
                for file in (folder / name).iterdir():
                    link(file, temporary / file.name)
        else:
            with atomic_file(path) as temporary:
                temporary.unlink()
                link(folder / name, temporary)
    return True
