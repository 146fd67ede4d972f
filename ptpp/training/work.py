"""A training job as the workflow gives it: paths, names and numbers."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ptpp.jobs.job import Job
from ptpp.jobs.progress import Watch
from ptpp.models.group import ALONE, Group
from ptpp.training.adaptation import adapt
from ptpp.training.adoption import measure
from ptpp.training.pretraining import pretrain_stage
from ptpp.training.runs import Run, prepare, settings_for
from ptpp.training.text import Text

JOBS = {"pretrain": pretrain_stage, "adapt": adapt, "measure": measure}


def work(
    job: str,
    model: str,
    spec: Mapping,
    code: str,
    text: Mapping,
    train: Sequence[str],
    valid: Sequence[str],
    checkpoint: str,
    threads: int,
    optimiser: Mapping | None = None,
    micro_batch_tokens: int | None = None,
    events: str | None = None,
    watched_by: Job | None = None,
    group: Group = ALONE,
    stopping: Callable[[], bool] = lambda: False,
    **others,
) -> None:
    """Do the job `job` (a key of JOBS) for `model` of the given specification.

    spec: see `Run.of`. optimiser: a `pretraining` or `adaptation` section; None where nothing is
    trained. text: arguments of `Text.open` beside the stores `train` and `valid`.
    micro_batch_tokens: tokens whose activations a process holds at once; None: its part of a whole
    batch. events: the folder for TensorBoard's event files, if any. watched_by: told how it goes.
    others: further arguments of the job.
    """
    prepare(threads)
    run = Run.of(model, spec, code, checkpoint)
    micro_batch = None
    if micro_batch_tokens is not None:
        micro_batch = max(1, micro_batch_tokens // run.shape.context)
    if optimiser is not None:
        others["settings"] = settings_for(optimiser, run, spec["size"]["batch_tokens"])
    JOBS[job](
        run=run,
        checkpoint=checkpoint,
        text=Text.open(train, valid, **text),
        group=group,
        micro_batch=micro_batch,
        stopping=stopping,
        watch=Watch(watched_by, Path(events) if events and group.leads else None),
        **others,
    )
