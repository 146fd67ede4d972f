"""Checks of the machine, of places on a GPU, and of whole jobs."""

import csv
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from checking import Setup, check
from training_driver import Jobs, build_stores

from ptpp.errors import Interrupted
from ptpp.jobs.gpus import assign_gpus
from ptpp.training.run import launch_job, prepare


def env(setup: Setup) -> Iterator[dict]:
    """What this ran on."""
    facts = {"torch": torch.__version__, "python": platform.python_version()}
    facts |= {name: version(name) for name in ("transformers", "safetensors", "numpy")}
    facts |= {"cpus": os.cpu_count(), "gcc": shutil.which("gcc") is not None}
    if setup.on_gpu:
        card = torch.cuda.get_device_properties(0)
        facts |= {"card": card.name, "memory_gb": round(card.total_memory / 1e9)}
        facts |= {"driver": driver(), "cuda": torch.version.cuda}
        facts |= {"bfloat16": torch.cuda.is_bf16_supported()}
        prepare(1, setup.device)  # as every job does
        facts |= {"float32_products": torch.get_float32_matmul_precision()}
    yield check("environment", facts.get("bfloat16", True), **facts)


def driver() -> str | None:
    """The version of the card's driver; None where nvidia-smi does not say."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(done.stdout.split()), None)


def place(setup: Setup) -> Iterator[dict]:
    """Two jobs on one GPU: the second waits, or shares it. Without a GPU no job waits."""
    for share in (1, 2):
        with tempfile.TemporaryDirectory() as folder, processes(setup, 2) as pool:
            # The first holds it until the second has asked for it, and some seconds more.
            first = pool.submit(hold_gpu, setup.device, share, folder, "first", "second.asked")
            while not (Path(folder) / "first.held").exists() and not first.done():
                time.sleep(0.05)
            second = pool.submit(hold_gpu, setup.device, share, folder, "second")
            (names, _, end), (_, start, _) = first.result(), second.result()
        waited = start >= end
        expected = setup.on_gpu and share == 1
        ok = waited == expected and len(names) == setup.on_gpu
        yield check(f"two jobs, jobs_per_gpu {share}", ok, waited=waited, names=names)


def processes(setup: Setup, count: int) -> Executor:
    """Processes that have not touched the GPU; in a dry run, threads, which start at once."""
    if setup.on_gpu:
        return ProcessPoolExecutor(count, mp_context=get_context("spawn"))
    return ThreadPoolExecutor(count)


def in_process(setup: Setup, work: Callable[..., Any], *arguments: Any) -> Any:
    """What `work` returns; a job takes its GPU, and sets up torch, in a process of its own."""
    with processes(setup, 1) as pool:
        return pool.submit(work, *arguments).result()


def hold_gpu(
    device: str, share: int, folder: str, name: str, until: str | None = None
) -> tuple[tuple, float, float]:
    """Hold a GPU, until the file `until` is there; its names, and from when to when it was held."""
    (Path(folder) / f"{name}.asked").touch()
    with assign_gpus(device, 1, share, what="acceptance", folder=Path(folder)) as names:
        start = time.time()
        (Path(folder) / f"{name}.held").touch()
        if until:
            while not (Path(folder) / until).exists() and time.time() - start < 120:
                time.sleep(0.05)
            time.sleep(4.0 if names else 0.05)
        end = time.time()
    return names, start, end


def jobs(setup: Setup) -> Iterator[dict]:
    """Whole jobs: CPU against device, stopped and gone on with, several at once."""
    with tempfile.TemporaryDirectory() as name:
        stores = build_stores(Path(name))
        stages = (1.0,) if setup.small else (20.0,)
        # At the tests' own rate rounding grows to half a nat: on a CPU, too.
        calm = (("learning_rate", 0.002),)
        common = Jobs(Path(name) / "cpu", stores, 1e9, stages, optimiser=calm)
        device = replace(common, model=(("device", setup.device),))
        host = in_process(setup, run_jobs, common)
        one = in_process(setup, run_jobs, replace(device, folder=Path(name) / "one"))
        apart = _apart(host, one)
        yield check("pre-training and adaptation, as on a CPU", apart < 0.05, difference=apart)

        stopped = replace(device, folder=Path(name) / "stopped", save_every_s=0.0)
        state = stopped.pretrain_state(stages[0]) / "state.safetensors"
        try:
            in_process(setup, launch_job, stopped.pretraining(stages[0]), state.exists)
            was_stopped = False
        except Interrupted:
            was_stopped = True
        again = in_process(setup, run_jobs, stopped)
        apart = _apart(one, again)
        ok = was_stopped and apart < 0.05
        yield check("stopped, and gone on with", ok, was_stopped=was_stopped, difference=apart)
        yield several_at_once(setup, device, Path(name))


def run_jobs(work: Jobs) -> list[float]:
    """Pre-train and adapt; all losses."""
    launch_job(work.pretraining(work.stages[0]))
    launch_job(work.adaptation())
    return _losses(work.zero_shot(work.stages[0])) + _losses(work.observations)


def several_at_once(setup: Setup, work: Jobs, folder: Path) -> dict:
    """Jobs that share a device, each a process of its own."""
    count = 2 if setup.small else 4
    works = [replace(work, folder=folder / f"share{k}") for k in range(count)]
    records = [each.pretraining(work.stages[0]) for each in works]
    records = [replace(each, runtime=replace(each.runtime, jobs_per_gpu=count)) for each in records]
    began = time.monotonic()
    with processes(setup, count) as pool:
        for each in [pool.submit(launch_job, record) for record in records]:
            each.result()
    found = [_losses(each.zero_shot(work.stages[0])) for each in works]
    apart = max(_apart(found[0], each) for each in found[1:])
    seconds = round(time.monotonic() - began, 1)
    return check(f"{count} jobs share the device", apart < 0.05, seconds=seconds, difference=apart)


def _losses(path: Path) -> list[float]:
    with open(path, newline="") as stream:
        return [float(row["loss"]) for row in csv.DictReader(stream)]


def _apart(some: list[float], others: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(some, others, strict=True))
