"""What a training job is: typed records, which its processes read as JSON."""

import hashlib
import json
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch

from ptpp.errors import InputError
from ptpp.jobs.progress import NO_WATCH, Watch
from ptpp.models.backend import Placement
from ptpp.models.checkpoint import external_size, external_tokens
from ptpp.models.group import ALONE, Group
from ptpp.models.sizes import ExternalSize, Shape
from ptpp.training.schedule import Settings

# What saved state and finished work are bound to, besides settings and input. Raise it with every
# change to the code that can move a loss: nothing saved before is then gone on from.
NUMERICS_VERSION = 2


@dataclass(frozen=True)
class Model:
    """Who is trained: its name in tables and logs, its size and seed, and how it is held.

    A GPT-2 of ours has a shape (width, depth, heads); a model from elsewhere has n_params, counted
    by `count`. micro_batch_tokens: tokens whose activations a process holds at once; None: its part
    of a whole batch, or what a GPU has memory for. It decides the order of sums, and so the last
    bits of a loss.
    """

    name: str
    size: str
    seed: int
    context: int
    vocab_size: int
    count: str
    device: str
    batch_tokens: int
    micro_batch_tokens: int | None = None
    width: int | None = None
    depth: int | None = None
    heads: int | None = None
    n_params: int | None = None


@dataclass(frozen=True)
class Runtime:
    """How a job runs; nothing here is part of what saved state belongs to.

    threads: CPU threads of all its processes on a node together. devices: processes on a node that
    share the model, a device each. tensorboard: the folder for event files; None: none are written.
    split: what the tokens at once that a group chooses are divided by, raised where its memory
    ended. nodes: of a cluster, that share the model.
    compiles: whether decoder layers go through torch.compile; None: on GPUs.
    """

    threads: int = 1
    devices: int = 1
    jobs_per_gpu: int = 1
    save_every_s: float = 30.0
    tensorboard: str | None = None
    split: int = 1
    nodes: int = 1
    compiles: bool | None = None

    @property
    def processes(self) -> int:
        """All that train the model together."""
        return self.nodes * self.devices

    @classmethod
    def of_rule(cls, threads: int, resources: typing.Any, results: Path) -> "Runtime":
        """From the threads and resources of a rule; event files go under `results`."""
        events = str(results / "tensorboard") if resources.tensorboard else None
        compiles = {"auto": None, "true": True, "false": False}[resources.compile]
        shared = (resources.devices, resources.jobs_per_gpu, resources.save_every, events)
        return cls(threads, *shared, nodes=resources.get("nodes", 1), compiles=compiles)


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What all kinds of job share; `model` and `runtime` may be given as mappings.

    text: arguments of `Text.open`. checkpoint: the one that is written, adapted or measured. code:
    digest of the code (`ptpp.jobs.code_digest`), to which finished work is bound.
    """

    kind: typing.ClassVar[str]
    model: Model
    ptpp: float
    text: Mapping
    checkpoint: str
    zero_shot: str
    code: str = ""
    runtime: Runtime = Runtime()

    def __post_init__(self):
        for name, record in (("model", Model), ("runtime", Runtime)):
            if isinstance(fields := getattr(self, name), Mapping):
                object.__setattr__(self, name, record(**fields))

    @property
    def name(self) -> str:
        return f"{self.model.name}.ptpp{self.ptpp:g}"

    @cached_property
    def device(self) -> str:
        return pick_device(self.model.device)

    @cached_property
    def shape(self) -> Shape | ExternalSize:
        """The shape of a GPT-2 of ours, or the counts recorded beside an adopted checkpoint."""
        model = self.model
        if model.n_params is not None:
            return external_size(self.checkpoint, model.context)
        return Shape(model.width, model.depth, model.heads, model.context, model.vocab_size)

    @property
    def gpt2(self) -> Shape | None:
        """The shape, if the model is a GPT-2 of ours."""
        return self.shape if isinstance(self.shape, Shape) else None

    @cached_property
    def measured_ptpp(self) -> float:
        """Tokens per parameter that the checkpoint has read; `ptpp` is the label of its stage."""
        if self.gpt2 is not None:
            return self.ptpp
        return external_tokens(self.checkpoint) / self.n_params

    @property
    def n_params(self) -> int:
        """N by the configured rule, which defines PTPP and ATPP."""
        return self.shape.count(self.model.count)

    def placement(self, group: Group) -> Placement:
        tokens = self.model.micro_batch_tokens
        micro_batch = None if tokens is None else max(1, tokens // self.model.context)
        runtime = self.runtime
        return Placement(self.device, group, micro_batch, runtime.split, compiles=runtime.compiles)


@dataclass(frozen=True, kw_only=True)
class MeasureJob(TrainingJob):
    """Measure an adopted checkpoint before any adaptation."""

    kind: typing.ClassVar[str] = "measure"
    cost: str


@dataclass(frozen=True, kw_only=True)
class OptimisedJob(TrainingJob):
    """A job that trains.

    optimiser: as `Settings.of` reads it. state: the folder of its unfinished training. finished:
    of its results.
    """

    optimiser: Mapping
    state: str
    finished: str

    @property
    def settings(self) -> Settings:
        model = self.model
        return Settings.of(self.optimiser, model.batch_tokens, self.n_params, model.context)

    def identity(self) -> list:
        """Everything but text and input files that decides the numbers, JSON-able."""
        model = self.model
        name = [model.name, model.size, model.seed, model.count, model.micro_batch_tokens]
        versions = [NUMERICS_VERSION, torch.__version__, self.device]
        return [*versions, *name, asdict(self.shape), self.ptpp, asdict(self.settings)]


@dataclass(frozen=True, kw_only=True)
class PretrainJob(OptimisedJob):
    """Train from the previous stage's trunk (None: from scratch) to a checkpoint."""

    kind: typing.ClassVar[str] = "pretrain"
    tokenizer: str
    previous_trunk: str | None
    trunk: str
    curve: str
    cost: str


@dataclass(frozen=True, kw_only=True)
class AdaptJob(OptimisedJob):
    """Adapt one checkpoint at several replay ratios and measure every ATPP."""

    kind: typing.ClassVar[str] = "adapt"
    replays: typing.Sequence[float]
    atpp: typing.Sequence[float]
    observations: str
    costs: str


@dataclass(frozen=True)
class Process:
    """How this process does its job: with whom, until when, and who watches."""

    group: Group = ALONE
    stopping: Callable[[], bool] = lambda: False
    watch: Watch = NO_WATCH


SINGLE = Process()


def fingerprint(parts: object) -> str:
    """SHA-256 of JSON-able values, as hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def pick_device(name: str) -> str:
    """`auto` is the GPU when there is one."""
    has_gpu = name != "cpu" and torch.cuda.is_available()
    if name == "auto":
        return "cuda" if has_gpu else "cpu"
    if name.startswith("cuda") and not has_gpu:
        raise InputError(f"device: {name} asked for, but torch sees no GPU; accepted: auto, cpu")
    return name
