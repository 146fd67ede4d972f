"""The workflow in a folder of a test: its files, its runs, and what a run said."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
SMOKE = ("--configfile", "scales/smoke.yaml")
PARTS = (
    *("Snakefile", "config.yaml", "rules", "scripts", "schemas", "ptpp", "scales", "report"),
    *("resources", "profiles", "envs"),
)


def link_workflow(folder: Path, *left_out: str) -> Path:
    """Fill a folder with links to the workflow's parts, for tests that edit none of them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted({*PARTS} - {*left_out}):
        if (ROOT / name).exists():
            (folder / name).symlink_to(ROOT / name)
    return folder


def copy_workflow(folder: Path) -> Path:
    """Fill a folder with copies of the workflow's parts, for tests that edit them."""
    ignore = shutil.ignore_patterns("__pycache__")
    for name in PARTS:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)
        elif (ROOT / name).exists():
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def snakemake_command(*arguments, cores: int | None = 2) -> list[str]:
    """The command line of a run in a process of its own."""
    return [sys.executable, "-m", "snakemake", *with_cores(arguments, cores)]


def with_cores(arguments, cores: int | None) -> list[str]:
    """Without a number of cores the profile says how many."""
    return [*(() if cores is None else ("--cores", str(cores))), *map(str, arguments)]


def job_counts(done: subprocess.CompletedProcess) -> dict[str, int]:
    """Jobs per rule of a run or dry run, by the table that Snakemake prints first.

    Rules without work of their own, and the sum, are left out.
    """
    assert done.returncode == 0, done.stderr[-3000:]
    rows = re.findall(r"^(\w+) +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    return {rule: int(count) for rule, count in rows if rule not in ("all", "laws", "total")}


def read_mark(results: Path, job: str) -> dict | None:
    """What a job at work (`pretrain/w16.ptpp60`) says of itself; None before it says anything."""
    path = results / ".running" / f"{job.replace('/', '.')}.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def hold(results: Path, job: str, head: subprocess.Popen, condition=lambda mark: True) -> dict:
    """Stop a training job in the middle, once it has saved its state; returns its mark.

    Raises AssertionError where its Snakemake, `head`, ends before.
    """
    rule, name = job.split("/")
    saved = f".state/{rule}.{name.split('.replay')[0]}/**/state.safetensors"
    while True:
        mark = read_mark(results, job)
        if mark and "share" in mark and condition(mark) and any(results.glob(saved)):
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(mark["pid"])
                for one in (process, *process.children(recursive=True)):
                    one.suspend()
                return mark
        assert head.poll() is None, f"{job} ended before it could be held"
        time.sleep(0.02)
