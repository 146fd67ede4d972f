"""What several test files share."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("any_machine", deadline=None)  # a busy machine fails no property
settings.load_profile("any_machine")

ROOT = Path(__file__).parent.parent


@pytest.fixture
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def training_stores(tmp_path_factory):
    """Token stores and a tokenizer for tiny training jobs; copy them before changing one."""
    from training_driver import build_stores

    return build_stores(tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="session")
def whole(tmp_path_factory, training_stores):
    """Every training job of a tiny model, undisturbed; copy it before changing it."""
    from training_driver import Jobs, torch_of_a_job

    jobs = Jobs(tmp_path_factory.mktemp("whole"), training_stores)
    with torch_of_a_job():
        jobs.all()
    return jobs


@pytest.fixture
def snakemake():
    """Run Snakemake in a folder that holds the workflow; returns the finished process."""

    def run(folder, *arguments, cores=2, timeout=600):
        command = [sys.executable, "-m", "snakemake", "--cores", str(cores)]
        command += map(str, arguments)
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=timeout, check=False
        )

    return run


@pytest.fixture(scope="session")
def llama_directory(tmp_path_factory):
    """A tokenizer of Llama's type, of 600 ids; see own_models."""
    from own_models import save_llama_tokenizer

    return save_llama_tokenizer(tmp_path_factory.mktemp("llama") / "tokenizer")


@pytest.fixture
def llama_tokenizer(llama_directory):
    """The same, and the id that separates documents."""
    from ptpp.text.tokenizer import load_tokenizer, separator_id

    return load_tokenizer(llama_directory), separator_id(llama_directory)
