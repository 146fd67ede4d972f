"""Tiny training jobs in processes of their own, that tests may kill, starve and interrupt."""

import contextlib
import ctypes
import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path

import torch

from ptpp.jobs.job import catch_stop, run_job
from ptpp.text.sources import SPLITS
from ptpp.text.store import document_hashes, write_store
from ptpp.text.tokenizer import load_tokenizer, train_tokenizer
from ptpp.training import engine, state
from ptpp.training.adaptation import adapt
from ptpp.training.application import ApplyJob, apply
from ptpp.training.job import AdaptJob, PretrainJob, Process, Runtime
from ptpp.training.pretraining import pretrain
from ptpp.training.run import prepare

ALPHABETS = {"en": "etaoinshrd", "ar": "ابتثجحدرسش", "fr": "esaitnrulé"}
BASE = {"en": 0.5, "ar": 0.5}
MODEL = {
    "name": "w8",
    "size": "w8",
    "seed": 0,
    "width": 8,
    "depth": 1,
    "heads": 1,
    "context": 32,
    "vocab_size": 300,
    "count": "total",
    "device": "cpu",
    "batch_tokens": 128,
}
BATCH = MODEL["batch_tokens"] // MODEL["context"]  # sequences a step
OPTIMISER = {
    "schedule": "wsd",
    "decay_fraction": 0.3,
    "warmup": 0.2,
    "learning_rate": 0.01,
    "base_width": 8,
    "weight_decay": 0.1,
    "betas": [0.9, 0.95],
    "clip": 1.0,
}
REPLAYS = (0.0, 0.5)

fresh = multiprocessing.get_context("forkserver")


@contextlib.contextmanager
def torch_of_a_job():
    """Set up torch as a training job does, and put it back."""
    before = torch.get_num_threads(), torch.backends.mkldnn.matmul.fp32_precision
    prepare(1)
    yield
    torch.set_num_threads(before[0])
    torch.backends.mkldnn.matmul.fp32_precision = before[1]


def start_server() -> None:
    """Import torch once, in a server of which each job is a fork that starts in milliseconds."""
    fresh.set_forkserver_preload(["training_driver", "pytest"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)  # the server finds this module by it
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        if before is not None:
            os.environ["PYTHONPATH"] = before


def texts_of(language: str, split: str, seed: int = 0) -> list[str]:
    """Documents of made-up words, each followed by one of four others.

    A tenth of the training documents repeat validation documents.
    """
    letters = ALPHABETS[language]
    rng = random.Random(f"{language} {seed}")
    words = ["".join(rng.choices(letters, k=rng.randint(2, 6))) for _ in range(60)]
    rng = random.Random(f"{language} {seed} {split}")

    def document() -> str:
        place, said = rng.randrange(60), []
        for _ in range(rng.randint(10, 40)):
            place = (7 * place + rng.choice((1, 5, 11, 23))) % 60
            said.append(words[place])
        return " ".join(said) + "."

    documents = [document() for _ in range(200)]
    if split == "train":
        documents[::10] = texts_of(language, "valid", seed)[: len(documents[::10])]
    return documents


def build_stores(folder: Path, seed: int = 0) -> Path:
    """Tokenizer and token stores as the workflow writes them, validation documents left out."""
    texts = {(name, split): texts_of(name, split, seed) for name in ALPHABETS for split in SPLITS}
    if not (folder / "tokenizer").exists():
        streams = {name: iter(texts[name, "train"]) for name in ALPHABETS}
        train_tokenizer(streams, 300, 20_000, folder / "tokenizer")
    tokenizer = load_tokenizer(folder / "tokenizer")
    for name in ALPHABETS:
        valid = folder / f"{name}.valid.bin"
        kept = write_store(texts[name, "valid"], tokenizer, valid, 1_000, "").documents
        held_out = document_hashes(texts[name, "valid"][:kept])
        train = folder / f"{name}.train.bin"
        info = write_store(texts[name, "train"], tokenizer, train, 6_000, "", exclude=held_out)
        assert info.tokens == 6_000 and info.excluded
    return folder


def text_files(stores: Path) -> dict:
    train, valid = (
        [str(stores / f"{name}.{split}.bin") for name in ALPHABETS] for split in ("train", "valid")
    )
    files = {"train": train, "valid": valid}
    return files | {"target": "fr", "base": BASE, "evaluation_tokens": 512}


@dataclass(frozen=True)
class Jobs:
    """The jobs of one model in `folder`, laid out as the workflow does it."""

    folder: Path
    stores: Path
    save_every_s: float = 0.0
    stages: tuple[float, ...] = (1.0, 2.0)
    atpp: tuple[float, ...] = (0.5, 1.0)
    optimiser: tuple[tuple[str, float], ...] = ()  # settings that differ from OPTIMISER
    model: tuple[tuple[str, object], ...] = ()  # fields that differ from MODEL
    code: str = ""
    devices: int = 1
    nodes: int = 1
    tensorboard: str | None = None

    def checkpoint(self, ptpp: float) -> Path:
        return self.folder / "checkpoints" / f"ptpp{ptpp:g}"

    def trunk(self, ptpp: float) -> Path:
        return self.folder / f"trunk{ptpp:g}.safetensors"

    def zero_shot(self, ptpp: float) -> Path:
        return self.folder / f"zero_shot{ptpp:g}.csv"

    def done(self, ptpp: float) -> Path:
        """Stands for what Snakemake remembers of jobs that ended."""
        return self.folder / f"stage{ptpp:g}.done"

    @property
    def observations(self) -> Path:
        return self.folder / "observations.csv"

    def pretrain_state(self, ptpp: float) -> Path:
        return self.folder / ".state" / f"pretrain{ptpp:g}"

    @property
    def adapt_state(self) -> Path:
        return self.folder / ".state" / "adapt"

    @property
    def finished(self) -> Path:
        return self.folder / ".state" / "finished"

    def _shared(self, ptpp: float) -> dict:
        """The fields that both kinds of job have."""
        return {
            "model": MODEL | dict(self.model),
            "ptpp": ptpp,
            "text": text_files(self.stores),
            "optimiser": OPTIMISER | dict(self.optimiser),
            "checkpoint": self.checkpoint(ptpp),
            "zero_shot": self.zero_shot(ptpp),
            "code": self.code,
            "runtime": Runtime(
                1, self.devices, 1, self.save_every_s, self.tensorboard, nodes=self.nodes
            ),
        }

    def pretraining(self, ptpp: float) -> PretrainJob:
        before = [stage for stage in self.stages if stage < ptpp]
        return PretrainJob(
            **self._shared(ptpp),
            previous_trunk=self.trunk(before[-1]) if before else None,
            tokenizer=self.stores / "tokenizer",
            trunk=self.trunk(ptpp),
            curve=self.folder / f"curve{ptpp:g}.csv",
            cost=self.folder / f"cost{ptpp:g}.csv",
            state=self.pretrain_state(ptpp),
            finished=self.finished / f"pretrain{ptpp:g}",
        )

    def adaptation(self, replays=REPLAYS) -> AdaptJob:
        return AdaptJob(
            **self._shared(self.stages[-1]),
            replays=replays,
            atpp=self.atpp,
            observations=self.observations,
            costs=self.folder / "costs.csv",
            state=self.adapt_state,
            finished=self.finished,
        )

    def application(self, replay: float, atpp: float) -> ApplyJob:
        folder = self.folder / "applied"
        return ApplyJob(
            **self._shared(self.stages[-1]) | {"zero_shot": folder / "zero_shot.csv"},
            replay=replay,
            atpp=atpp,
            tokenizer=self.stores / "tokenizer",
            adapted=folder / "checkpoint",
            observations=folder / "observations.csv",
            cost=folder / "cost.csv",
            state=self.folder / ".state" / "apply",
            finished=self.finished / "apply",
        )

    def apply(self, replay: float, atpp: float, stopping=lambda: False) -> None:
        apply(self.application(replay, atpp), Process(stopping=stopping))

    def pretrain(self, ptpp: float, stopping=lambda: False) -> None:
        pretrain(self.pretraining(ptpp), Process(stopping=stopping))

    def adapt(self, replays=REPLAYS, stopping=lambda: False) -> None:
        adapt(self.adaptation(replays), Process(stopping=stopping))

    def all(self, stopping=lambda: False) -> None:
        """Every job in turn; as Snakemake does, one that has ended is not run again."""
        for ptpp in self.stages:
            if not self.done(ptpp).exists():
                self.pretrain(ptpp, stopping)
                self.done(ptpp).touch()
        self.adapt(stopping=stopping)

    def results(self) -> dict[str, bytes]:
        """What was written, by name: all but hidden files and what tells of time and memory."""
        written = [path for path in self.folder.rglob("*") if path.is_file()]
        names = {path: str(path.relative_to(self.folder)) for path in written}
        return {
            name: path.read_bytes()
            for path, name in names.items()
            if not name.startswith((".", "cost", "logs/")) and not name.endswith(".done")
        }


class Child:
    """`Jobs` in a process of its own, under `run_job` and `catch_stop` like a script's.

    what: "all", "adapt" or a stage. Conditions: `limits`, pairs for `_limit`; `dies_at`, arguments
    of `_die`; `halts_at`, "trunk" or "branch", in whose third step it waits until `go`.
    """

    def __init__(self, work: Jobs, what: str = "all", log: Path | None = None, **conditions):
        start_server()
        self.log = log or work.folder / "logs" / f"{what}.log"
        self.place = fresh.RawArray(ctypes.c_char, 16)  # lives on when the process is killed
        arguments = (work, what, self.log, self.place, conditions)
        self.process = fresh.Process(target=_child, args=arguments)
        self.process.start()

    @property
    def doing(self) -> str:
        """What the process is, or was last, about; "" before training."""
        return self.place.value.decode()

    @property
    def running(self) -> bool:
        return self.process.is_alive()

    def halted(self) -> "Child":
        """Wait until it has come to where it halts."""
        while self.doing != "halted":
            assert self.running, self.said()
            time.sleep(0.001)
        return self

    def go(self) -> "Child":
        self.place.value = b"going on"
        return self

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def end(self, timeout: float = 600) -> int:
        """Wait; the exit status, negative when a signal ended it."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still at {self.doing!r} after {timeout} s"
        return self.process.exitcode

    def said(self) -> str:
        return self.log.read_text()


def _child(work: Jobs, what: str, log: Path, place, conditions: dict) -> None:
    os.close(2), os.open(os.devnull, os.O_WRONLY)  # the log file has it all
    with run_job(log), catch_stop() as stopping:
        prepare(1)
        _tell(place, conditions.get("halts_at"))
        if "dies_at" in conditions:
            _die(*conditions["dies_at"])
        for limit, value in conditions.get("limits", ()):
            _limit(limit, value)
        match what:
            case "all":
                work.all(stopping)
            case "adapt":
                work.adapt(stopping=stopping)
            case ptpp:
                work.pretrain(float(ptpp), stopping)


def _tell(place, halts_at: str | None) -> None:
    """Keep `place` at what training is about: trunk, branch or save."""
    rate, save = engine.rate_multiplier, state.StateFolder.save
    steps = Counter()

    def rate_told(position, settings, milestone):
        where = "trunk" if milestone is None else "branch"
        steps[where] += 1
        if where == halts_at and steps[where] == 3:
            place.value = b"halted"
            while place.value == b"halted":
                time.sleep(0.001)
        place.value = where.encode()
        return rate(position, settings, milestone)

    def save_told(folder, tensors, meta, rows):
        before, place.value = place.value, b"save"
        save(folder, tensors, meta, rows)
        place.value = before

    engine.rate_multiplier, state.StateFolder.save = rate_told, save_told


MOMENTS = ("before writing", "half written", "written", "old one aside", "in place")


def _die(moment: str, time: int) -> None:
    """Die of SIGKILL at one of MOMENTS of the `time`-th save of state, or `rename` of a file."""
    count = 0
    write, rename = state.save_file, os.replace

    def dead() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write_or_die(tensors, path, metadata):
        nonlocal count
        if moment not in MOMENTS or not Path(path).name.startswith(".state."):
            return write(tensors, path, metadata)
        count += 1
        if count < time:
            return write(tensors, path, metadata)
        if moment == "before writing":
            dead()
        write(tensors, path, metadata)
        if moment == "half written":
            os.truncate(path, os.path.getsize(path) // 2)
            dead()
        if moment == "written":
            dead()

    def rename_or_die(source, target):
        nonlocal count
        if moment == "rename":
            count += 1
            if count == time:
                dead()
        rename(source, target)
        if count == time and moment == "old one aside" and "previous" in Path(target).name:
            dead()
        if count == time and moment == "in place" and Path(target).name == "state.safetensors":
            dead()

    state.save_file, os.replace = write_or_die, rename_or_die


def _limit(name: str, value: int) -> None:
    """Restrict this process to `value` bytes of "memory" more than now, or in each "file"."""
    if name == "memory":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + value, used + value))
    else:
        resource.setrlimit(resource.RLIMIT_FSIZE, (value, value))
