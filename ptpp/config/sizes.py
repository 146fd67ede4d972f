"""Keys about models: sizes trained here or elsewhere, and what each asks of a machine."""

import re
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from ptpp.config.fields import Count, Name, Positive, Section, Seeds, one_of_kinds
from ptpp.errors import InputError
from ptpp.models.sizes import shape_of

STAGE_TOLERANCE = 0.02  # of a checkpoint's tokens per parameter

_RESOURCE = re.compile("[a-z][a-z0-9_]*")
# Set by other keys, or by the rules themselves.
_RESERVED = {
    *("devices", "jobs_per_gpu", "micro_batch_tokens", "save_every", "tensorboard", "mem_mib"),
}

Whole = Annotated[int, Field(ge=0)]


class NumberByRule(Section):
    """A number for each of the two rules that train."""

    pretrain: Whole | None = None
    adapt: Whole | None = None


class TextByRule(Section):
    """A text for each of the two rules that train."""

    pretrain: str | None = None
    adapt: str | None = None


class ValueByRule(Section):
    """A number or a text for each of the two rules that train."""

    pretrain: int | str | None = None
    adapt: int | str | None = None


def _kind_of_resource(value: Any) -> str:
    if isinstance(value, dict | Section):
        return "by_rule"
    return "text" if isinstance(value, str) else "number"


def _number(kind: Any) -> Any:
    return one_of_kinds(_kind_of_resource, number=kind, text=kind, by_rule=NumberByRule)


class Resources(Section):
    """What a job asks for: one value, or one for each of the rules pretrain and adapt."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[
        str, one_of_kinds(_kind_of_resource, number=int, text=str, by_rule=ValueByRule)
    ]

    threads: _number(Count) = 1
    mem_mb: _number(Whole) = 2000
    mem: one_of_kinds(_kind_of_resource, number=str, text=str, by_rule=TextByRule) = ""
    gpu: _number(Whole) = 0


class Size(Section):
    """What a model states whether or not it is trained here."""

    name: Name
    batch_tokens: Count
    """Tokens per optimiser step."""
    seeds: Seeds
    """Each is a whole pre-training and sweep."""
    devices: Count = 1
    """Devices that one job trains on at once."""
    micro_batch_tokens: Count | None = None
    """Tokens that a device computes at once; null: its whole share of a step."""
    resources: Resources = Resources()
    """What its jobs ask of Snakemake and of a cluster (docs/gpus.md)."""


class TrainedSize(Size):
    """A size pre-trained here, by its shape."""

    width: Count
    depth: Count
    heads: Count


class Checkpoint(Section):
    """A model from elsewhere at one stage."""

    ptpp: Positive
    """Its stage, one of pretraining.ptpp."""
    model: str
    """A directory that `save_pretrained` wrote, or a Hub id."""
    revision: str | None = None
    """Of a Hub id: a commit."""
    tokens: Count
    """What it has read; over n_params it must be ptpp within 2 %."""


class ExternalSize(Size):
    """A size whose checkpoints come from elsewhere, one per stage."""

    n_params: Count
    """N behind PTPP and ATPP, by models.count."""
    learning_rate: Positive
    """The peak rate of its own pre-training; adaptation starts at adaptation.rewarm times it."""
    checkpoints: Annotated[list[Checkpoint], Field(min_length=1)]


def _kind_of_size(value: Any) -> str:
    has = "checkpoints" in value if isinstance(value, dict) else isinstance(value, ExternalSize)
    return "external" if has else "trained"


class Models(Section):
    """The models of the sweep."""

    context: Annotated[int, Field(ge=2)]
    """Tokens of a training sequence."""
    count: Literal["total", "non_embedding"]
    """N behind PTPP and ATPP: total or non_embedding parameters."""
    sizes: Annotated[
        list[one_of_kinds(_kind_of_size, trained=TrainedSize, external=ExternalSize)],
        Field(min_length=1),
    ]


def model_names(models: Models) -> dict[str, tuple[str, int]]:
    """Every model as name -> (size, seed); the first seed of a size goes by the size's own name."""
    names: dict[str, tuple[str, int]] = {}
    for size in models.sizes:
        for place, seed in enumerate(size.seeds):
            name = size.name if place == 0 else f"{size.name}-seed{seed}"
            if name in names:
                raise InputError(f"config: models.sizes: name {name!r} stands there twice")
            names[name] = (size.name, seed)
    return names


def count_params(size: Size, models: Models, vocab_size: int) -> int:
    """N of a size by `models.count`: as stated, or by its shape."""
    if isinstance(size, ExternalSize):
        return size.n_params
    shape = {key: getattr(size, key) for key in ("width", "depth", "heads")}
    return shape_of(shape, models.context, vocab_size).count(models.count)


def check_sizes(models: Models) -> None:
    """Names are distinct, shapes can be built, steps split evenly, resources make sense."""
    model_names(models)
    for size in models.sizes:
        where = f"config: models.sizes: {size.name}"
        if isinstance(size, TrainedSize) and size.width % size.heads:
            raise InputError(f"{where}: width {size.width} is not a multiple of heads {size.heads}")
        if size.batch_tokens % models.context:
            raise InputError(
                f"{where}: batch_tokens {size.batch_tokens} is not a multiple of "
                f"models.context {models.context}"
            )
        _check_devices(size, models.context, where)
        _check_resources(size.resources, where)


def _check_devices(size: Size, context: int, where: str) -> None:
    """Every device gets as many sequences of a step, and every micro-batch holds as many."""
    micro = size.micro_batch_tokens
    if micro is not None and micro % context:
        raise InputError(
            f"{where}: micro_batch_tokens {micro} is not a multiple of models.context {context}"
        )
    if size.batch_tokens % (size.devices * (micro or context)):
        of = f"models.context {context}" if micro is None else f"micro_batch_tokens {micro}"
        raise InputError(
            f"{where}: batch_tokens {size.batch_tokens} is not a multiple of devices "
            f"{size.devices} times {of}"
        )


def _check_resources(resources: Resources, where: str) -> None:
    stated = resources.model_fields_set
    for name in stated:
        if not _RESOURCE.fullmatch(name) or name in _RESERVED:
            raise InputError(
                f"{where}: resources: found {name!r}; accepted: threads, mem_mb, mem, runtime, gpu "
                "and resources that your cluster knows, such as slurm_partition"
            )
    for one, other in (("mem", "mem_mb"), ("gpu", "gres")):
        if {one, other} <= stated:
            raise InputError(f"{where}: resources: {one} and {other} say the same; give one")
    gpu = resources.gpu
    counts = (gpu.pretrain, gpu.adapt) if isinstance(gpu, NumberByRule) else (gpu,)
    if "gpu_model" in stated and 0 in counts:
        raise InputError(f"{where}: resources: gpu_model is asked for, but gpu is 0")


def check_checkpoints(size: ExternalSize, stages: list[float]) -> None:
    """Each checkpoint is another stage, reached after the tokens that its PTPP says."""
    where = f"config: models.sizes: {size.name}: checkpoints"
    names = [f"{checkpoint.ptpp:g}" for checkpoint in size.checkpoints]
    seen: dict[tuple, float] = {}
    for checkpoint, stage in zip(size.checkpoints, names, strict=True):
        if names.count(stage) > 1:
            raise InputError(f"{where}: name {stage!r} stands there twice")
        if checkpoint.ptpp not in stages:
            accepted = ", ".join(map(str, stages))
            raise InputError(
                f"{where}: ptpp {stage} is not among pretraining.ptpp; accepted: {accepted}"
            )
        per_param = checkpoint.tokens / size.n_params
        if abs(per_param / checkpoint.ptpp - 1) > STAGE_TOLERANCE:
            raise InputError(
                f"{where}: ptpp {stage}: tokens {checkpoint.tokens} are {per_param:.4g} per "
                f"parameter (n_params {size.n_params}); accepted is {stage} within "
                f"{STAGE_TOLERANCE:.0%}"
            )
        name = (checkpoint.model, checkpoint.revision)
        if name in seen:
            raise InputError(
                f"{where}: ptpp {stage} names the model of ptpp {seen[name]:g}, {name[0]}"
            )
        seen[name] = checkpoint.ptpp
