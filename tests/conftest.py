"""What several test files share."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the commands have it: before numpy is there

import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from filelock import FileLock
from forks import serve
from hypothesis import settings
from workflow import SMOKE, copy_workflow, with_cores

settings.register_profile("any_machine", deadline=None)  # a busy machine fails no property
settings.load_profile("any_machine")

ROOT = Path(__file__).parent.parent
# A file that asks for the smoke run begins it; those of its neighbour do not wait for it.
LONGEST_FIRST = (
    *("slurm/test_slurm", "models/test_own_models", "report/test_interactive_browser"),
    *("training/test_group", "workflow/", "models/", "slurm/", "gpu/"),
)


@pytest.hookimpl(tryfirst=True)  # before the options deselect by mark
def pytest_collection_modifyitems(items):
    """The longest files first, so that workers end together; a quarter of the hostile cases."""
    hostile = [item for item in items if item.path.name == "test_hostile.py"]
    for number, item in enumerate(hostile):
        if number % 4:
            item.add_marker(pytest.mark.long)

    def place(item):
        path = item.path.relative_to(ROOT / "tests").as_posix()
        return next((k for k, start in enumerate(LONGEST_FIRST) if path.startswith(start)), 99)

    items.sort(key=place)


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture
def one_thread():
    """Torch on one thread: more of them only wait for each other in models this small."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def build_once(tmp_path_factory, name, build) -> Path:
    """The folder `name` that `build` fills, once for all workers of a test run."""
    common = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        common = common.parent
    folder, mark = common / name, common / f"{name}.built"
    with FileLock(common / f"{name}.lock"):
        if not mark.exists():
            shutil.rmtree(folder, ignore_errors=True)
            build(folder)
            mark.touch()
    return folder


@pytest.fixture(scope="session")
def training_stores(tmp_path_factory):
    """Token stores and a tokenizer for tiny training jobs; copy them before changing one."""
    from training_driver import build_stores

    def build(folder):
        folder.mkdir()
        build_stores(folder)

    return build_once(tmp_path_factory, "stores", build)


@pytest.fixture(scope="session")
def whole(tmp_path_factory, training_stores):
    """Every training job of a tiny model, undisturbed; copy it before changing it."""
    from training_driver import Jobs, torch_of_a_job

    jobs = Jobs(tmp_path_factory.mktemp("whole"), training_stores)
    with torch_of_a_job():
        jobs.all()
    return jobs


@pytest.fixture(scope="session")
def python_of_forks():
    """A `python` that starts at once; see forks.py."""
    with serve() as python:
        yield python


@pytest.fixture(scope="session")
def snakemake(python_of_forks):
    """A function: run Snakemake in a folder that holds the workflow; returns what it printed.

    A test that sends signals to jobs starts Snakemake by `snakemake_command` instead.
    """

    def run(folder, *arguments, cores=2, timeout=1800, environment=None):
        command = [python_of_forks, "-m", "snakemake", *with_cores(arguments, cores)]
        how = {"capture_output": True, "text": True, "timeout": timeout}
        return subprocess.run(command, cwd=folder, env=environment, check=False, **how)

    return run


@pytest.fixture
def forked_python(python_of_forks, monkeypatch):
    """The processes of a job are forks of one that has imported their libraries."""
    monkeypatch.setattr(sys, "executable", python_of_forks)


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory, snakemake):
    """A folder with the workflow and a finished run of the smoke scale; copy it before any change.

    Its training jobs are handed two counterfeit GPUs, and train on the CPU.
    """

    def build(folder):
        copy_workflow(folder)
        environment = os.environ | {
            "PATH": f"{counterfeit_gpus(folder / 'bin')}:{os.environ['PATH']}"
        }
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        done = snakemake(folder, *SMOKE, environment=environment)
        assert done.returncode == 0, done.stderr[-3000:]

    return build_once(tmp_path_factory, "smoke", build)


def counterfeit_gpus(folder: Path) -> Path:
    """Fill a folder with an `nvidia-smi` that lists two GPUs which no other run here has."""
    folder.mkdir()
    lines = [f"GPU {k}: Counterfeit (UUID: GPU-{uuid.uuid4()})" for k in range(2)]
    (folder / "nvidia-smi").write_text("#!/bin/sh\n" + "".join(f"echo '{n}'\n" for n in lines))
    (folder / "nvidia-smi").chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def llama_directory(tmp_path_factory):
    """A tokenizer of Llama's type, of 600 ids; see own_models."""
    from own_models import save_llama_tokenizer

    return build_once(tmp_path_factory, "llama", save_llama_tokenizer)


@pytest.fixture
def llama_tokenizer(llama_directory):
    """The same, and the id that separates documents."""
    from ptpp.text.tokenizer import load_tokenizer, separator_id

    return load_tokenizer(llama_directory), separator_id(llama_directory)
