"""What a training job is: typed records, validated, and written as JSON for its processes."""

import hashlib
import json
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path

import torch

from ptpp.errors import InputError
from ptpp.jobs.files import read_json
from ptpp.jobs.progress import NO_WATCH, Watch
from ptpp.models.backend import ALONE, Group, Placement
from ptpp.models.checkpoint import external_size
from ptpp.models.sizes import ExternalSize, Shape
from ptpp.training.schedule import Optimiser, Settings

# What saved state and finished work are bound to, besides settings and input. Raise it with every
# change to the code that can move a loss: nothing saved before is then gone on from.
NUMERICS_VERSION = 1


@dataclass(frozen=True)
class Model:
    """Who is trained: its name in tables and logs, its size and seed, and how it is held.

    A GPT-2 of ours has a shape (width, depth, heads); a model from elsewhere has n_params, counted
    by `count`. micro_batch_tokens: tokens whose activations a process holds at once; None: its part
    of a whole batch. It decides the order of sums, and so the last bits of a loss.
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
class TextFiles:
    """Token stores named <language>.<split>.bin, and how they are mixed and measured."""

    train: tuple[str, ...]
    valid: tuple[str, ...]
    target: str
    base: dict[str, float]
    evaluation_tokens: int


@dataclass(frozen=True)
class Runtime:
    """How a job runs; nothing here is part of what saved state belongs to.

    threads: CPU threads of all its processes together. devices: processes that share the model, a
    device each. tensorboard: the folder for event files; None: none are written.
    """

    threads: int = 1
    devices: int = 1
    jobs_per_gpu: int = 1
    save_every_s: float = 30.0
    tensorboard: str | None = None

    @classmethod
    def of_rule(cls, threads: int, resources: typing.Any, results: Path) -> "Runtime":
        """From the threads and resources of a rule; event files go under `results`."""
        return cls(
            threads,
            resources.devices,
            resources.jobs_per_gpu,
            resources.save_every,
            str(results / "tensorboard") if resources.tensorboard else None,
        )


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What all kinds of job share. checkpoint: the one that is written, adapted or measured.

    code: digest of the code (`ptpp.jobs.code_digest`), to which finished work is bound.
    """

    model: Model
    ptpp: float
    text: TextFiles
    checkpoint: str
    zero_shot: str
    code: str = ""
    runtime: Runtime = Runtime()

    @classmethod
    def of(cls, **values: object) -> typing.Self:
        """From plain values, nested records as mappings; InputError names what does not fit."""
        return _read(cls, values, cls.__name__)

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

    @property
    def n_params(self) -> int:
        """N by the configured rule, which defines PTPP and ATPP."""
        return self.shape.count(self.model.count)

    def placement(self, group: Group) -> Placement:
        tokens = self.model.micro_batch_tokens
        micro_batch = None if tokens is None else max(1, tokens // self.model.context)
        return Placement(self.device, group, micro_batch)


@dataclass(frozen=True, kw_only=True)
class MeasureJob(TrainingJob):
    """Measure an adopted checkpoint before any adaptation."""

    kind: typing.ClassVar[str] = "measure"
    cost: str


@dataclass(frozen=True, kw_only=True)
class OptimisedJob(TrainingJob):
    """A job that trains. state: the folder of its unfinished training. finished: of its results."""

    optimiser: Optimiser
    state: str
    finished: str

    @property
    def settings(self) -> Settings:
        model = self.model
        return Settings.of(asdict(self.optimiser), model.batch_tokens, self.n_params, model.context)

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
    replays: tuple[float, ...]
    atpp: tuple[float, ...]
    observations: str
    costs: str


KINDS = {job.kind: job for job in (PretrainJob, AdaptJob, MeasureJob)}


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


def write_job(path: Path, job: TrainingJob) -> None:
    path.write_text(json.dumps({"kind": job.kind, **asdict(job)}))


def read_job(path: Path) -> TrainingJob:
    """What `write_job` wrote; InputError names the file and the field that does not fit."""
    record = read_json(path)
    kind = record.pop("kind", None) if isinstance(record, dict) else None
    if kind not in KINDS:
        raise InputError(f"{path}: kind: found {kind!r}; accepted: {', '.join(KINDS)}")
    return _read(KINDS[kind], record, str(path))


def pick_device(wanted: str) -> str:
    """`auto` is the GPU when there is one."""
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device: {wanted} asked for, but torch sees no GPU; accepted: auto, cpu")
    return wanted


def _read(kind: type, value: object, where: str):
    """`value`, plain and nested, as an instance of `kind`, a type that the records above use."""
    if is_dataclass(kind):
        if isinstance(value, kind):
            return value
        types_of = {each.name: typing.get_type_hints(kind)[each.name] for each in fields(kind)}
        if not isinstance(value, Mapping):
            raise InputError(f"{where}: found {value!r}; expected {', '.join(types_of)}")
        for name in value.keys() - types_of.keys():
            raise InputError(f"{where}: {name}: unknown; accepted: {', '.join(types_of)}")
        try:
            return kind(
                **{n: _read(types_of[n], each, f"{where}: {n}") for n, each in value.items()}
            )
        except TypeError as error:  # a field is missing
            raise InputError(f"{where}: {str(error).split('() ')[-1]}") from None
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _read(of[0], value, where)
    if origin is tuple and isinstance(value, list | tuple):
        kinds = of[:1] * len(value) if of[1] is ... else of
        return tuple(_read(one, each, where) for one, each in zip(kinds, value, strict=True))
    if origin is dict and isinstance(value, Mapping):
        return {_read(of[0], k, where): _read(of[1], v, f"{where}: {k}") for k, v in value.items()}
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return value  # a whole number stays one, in tables too
    if kind is str and isinstance(value, Path):
        return str(value)
    if origin is None and isinstance(value, kind) and not (kind is int and value is True):
        return value
    raise InputError(f"{where}: found {value!r}; expected {getattr(kind, '__name__', kind)}")
