"""Runs a training job: here, or in processes that share a model (`processes.py`)."""

import logging
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from ptpp.jobs.heartbeat import Job
from ptpp.jobs.progress import Watch
from ptpp.models.group import ALONE, Group
from ptpp.training.job import AdaptJob, PretrainJob, Process, TrainingJob

log = logging.getLogger("ptpp")


def launch_job(
    job: TrainingJob, stopping: Callable[[], bool] = lambda: False, watched_by: Job | None = None
) -> None:
    """Do a job on `job.runtime.devices` devices of each node; `watched_by` learns how it goes.

    GPUs are taken for this job alone, or with as many others as `jobs_per_gpu` lets share one;
    SLURM has given it those of several nodes. Raises what the job raises, or what `run_processes`
    does.
    """
    runtime, places = job.runtime, nullcontext()
    if job.model.device != "cpu" and runtime.nodes == 1:
        from ptpp.jobs.gpus import assign_gpus

        wanted = (job.model.device, runtime.devices, runtime.jobs_per_gpu)
        places = assign_gpus(*wanted, stopping, what=f"{job.kind} {job.model.name}")
    with places:
        if runtime.processes == 1:
            do(job, ALONE, stopping, watched_by)
        else:
            _run_group(job, stopping, watched_by)


def _run_group(job: TrainingJob, stopping: Callable[[], bool], watched_by: Job | None) -> None:
    """Start processes; where the memory of one ends, all again with half as many tokens at once.

    They go on from their saved state. Raises MemoryError when `micro_batch_tokens` is given, or
    when no half is left.
    """
    from ptpp.training.processes import run_processes

    model, runtime = job.model, job.runtime
    sequences = model.batch_tokens // (model.context * runtime.processes)
    while True:
        try:
            return run_processes(replace(job, runtime=runtime), stopping, watched_by)
        except MemoryError as error:
            if model.micro_batch_tokens is not None or 2 * runtime.split > sequences:
                raise
            runtime = replace(runtime, split=2 * runtime.split)
            log.warning(
                "%s: starts again with half as many tokens at once; "
                "micro_batch_tokens of size %s sets them",
                *(error, model.size),
            )


def do(
    job: TrainingJob, group: Group, stopping: Callable[[], bool], watched_by: Job | None
) -> None:
    """Do a job in this process. What a kind of job needs is imported here: it takes time."""
    prepare(max(1, job.runtime.threads // job.runtime.devices), job.device)
    events = Path(job.runtime.tensorboard) if job.runtime.tensorboard and group.is_main else None
    process = Process(group, stopping, Watch(watched_by, events))
    if isinstance(job, PretrainJob):
        from ptpp.training.pretraining import pretrain as work
    elif isinstance(job, AdaptJob):
        from ptpp.training.adaptation import adapt as work
    elif job.kind == "apply":
        from ptpp.training.application import apply as work
    else:
        from ptpp.training.adoption import measure as work
    work(job, process)


def prepare(threads: int, device: str = "cpu") -> None:
    """Set up torch for a training job on `threads` CPU threads."""
    torch.set_num_threads(threads)
    if device == "cpu":  # torch.compile asks torch for its precision, which this lets it not say
        from ptpp.models.cpu import use_fast_float32

        use_fast_float32()
