"""What must hold between keys, and whether the files are there that the configuration names."""

import math
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ptpp.config.sections import (
    ByRule,
    Config,
    ExternalSize,
    Resources,
    Size,
    Tokenised,
    TrainedSize,
)
from ptpp.errors import InputError
from ptpp.models.external import check_name, model_files, tokenizer_files
from ptpp.models.memory import CAPACITY, state_bytes

STAGE_TOLERANCE = 0.1  # of a checkpoint's tokens per parameter: its stage is a label

_RESOURCE = re.compile("[a-z][a-z0-9_]*")
# Set by other keys, or by the rules themselves.
_RESERVED = {
    *("compile", "devices", "nodes", "jobs_per_gpu", "micro_batch_tokens", "save_every"),
    *("tensorboard", "mem_mib", "mpi", "tasks"),
}


def require(holds: object, message: str) -> None:
    """Raise InputError with `message`, which begins with a key, unless `holds`."""
    if not holds:
        raise InputError(f"config: {message}")


def check_sense(config: Config) -> None:
    """Raise InputError, one line that names the key, unless the sections fit each other."""
    _check_corpora(config)
    _check_sizes(config)
    finished = not config.is_trained
    measures_only = finished and config.held_out.ptpp is None
    require(not measures_only, "held_out.ptpp: null measures only, but a finished table is given")
    for key in ("columns", "where"):
        unused = config.is_trained and getattr(config, key)
        require(not unused, f"{key}: is about a finished table; observations is null")
    _check_ascending("adaptation.atpp", config.adaptation.atpp)
    laws = [*config.laws.target, *(Path(path).stem for path in config.laws.declared)]
    _check_distinct("laws.target and laws.declared", laws)
    _check_plan(config, laws)
    if config.is_trained:
        for size in config.external_sizes:
            _check_checkpoints(size, config.pretraining.ptpp)
        _check_tokenised(config)
        _check_stages(config)
        _check_evaluation(config)
        if config.held_out.ptpp is not None:
            _check_anchors(config)


def check_files(config: Config) -> None:
    """Raise InputError unless every file that is named is there.

    Snakemake itself misses an input only as long as its results are missing too.
    """
    paths = [("laws.declared", path) for path in config.laws.declared]
    paths += [("plan.from_scratch", config.plan.from_scratch)]
    paths += [("observations", config.observations)]
    if config.is_trained:
        paths += [
            (f"corpora.languages: {language.name}: {split}", path)
            for language in config.corpora.languages
            for split in ("train", "valid")
            for path in language.files(split)
        ]
    for key, path in paths:
        require(path is None or Path(path).is_file(), f"{key}: {path}: no such file")
    if not config.is_trained:
        return
    for size in config.external_sizes:
        for checkpoint in size.checkpoints:
            key = f"config: models.sizes: {size.name}: ptpp {checkpoint.ptpp:g}"
            check_name(checkpoint.model, checkpoint.revision, key)
            if Path(checkpoint.model).is_dir():
                model_files(checkpoint.model)
    for language in config.corpora.languages:
        if isinstance(language, Tokenised) and language.tokenizer is not None:
            tokenizer_files(language.tokenizer)
    alone = config.tokenizer.model is None and config.tokenizer.revision is not None
    require(not alone, "tokenizer.revision: is given, but no tokenizer.model")
    tokenizer = config.external_tokenizer()
    if tokenizer is not None:
        check_name(tokenizer["model"], tokenizer["revision"], "config: tokenizer.model")
        if Path(tokenizer["model"]).is_dir():
            tokenizer_files(tokenizer["model"])


def _check_distinct(key: str, names: Sequence[str]) -> None:
    name, count = Counter(names).most_common(1)[0]
    require(count == 1, f"{key}: name {name!r} stands there twice")


def _check_ascending(key: str, values: list[float]) -> None:
    require(values == sorted(values), f"{key}: {values} must ascend")


def _take_out(domain: str) -> str:
    """How an entry of the default configuration leaves a mapping that an overlay is merged into."""
    return f"`{domain}: null` takes out an entry of config.yaml"


def _check_corpora(config: Config) -> None:
    """The target and the base domains are distinct languages, and shares sum to 1."""
    corpora = config.corpora
    domains = [language.name for language in corpora.languages]
    if not config.is_trained:  # the domains of a finished table need no text
        domains = list(dict.fromkeys([corpora.target, *corpora.base]))
    _check_distinct("corpora.languages", domains)
    accepted = f"is not among corpora.languages; accepted: {', '.join(domains)}"
    require(corpora.target in domains, f"corpora.target: {corpora.target!r} {accepted}")
    others = [name for name in domains if name != corpora.target]
    accepted = "must be one of corpora.languages other than the target; accepted: "
    for name in corpora.base:
        message = f"corpora.base: {name!r} {accepted}{', '.join(others)}; {_take_out(name)}"
        require(name in others, message)
    total = sum(corpora.base.values())
    require(abs(total - 1) <= 1e-9, f"corpora.base: shares sum to {total:g}; they must sum to 1")


def _check_tokenised(config: Config) -> None:
    """Ids need the tokenizer that made them, and what their kind of file does not say itself."""
    for language in config.corpora.languages:
        if not isinstance(language, Tokenised):
            continue
        where = f"corpora.languages: {language.name}: source tokens"
        own = config.external_tokenizer() is not None
        what = "a tokenizer trained here has ids of its own; name the one that made them under"
        require(own, f"{where}: {what} tokenizer.model")
        size, most = language.vocab_size, config.tokenizer.vocab_size
        require(size <= most, f"{where}: vocab_size {size} is above tokenizer.vocab_size {most}")
        for path in [*language.train, *language.valid]:
            kind = Path(path).suffix
            known = kind in (".npy", ".bin", ".idx")
            require(known, f"{where}: {path}: accepted are names that end in .npy, .bin and .idx")
            parted = kind == ".idx" or language.separator is not None
            require(parted, f"{where}: {path} needs a separator, the id that ends a document")
            hint = "needs dtype, the type of its ids; of Megatron's files name the .idx"
            require(kind != ".bin" or language.dtype is not None, f"{where}: {path} {hint}")


def _check_evaluation(config: Config) -> None:
    """A measurement reads at least one context, and less than the held-out stores hold."""
    tokens, context = config.corpora.evaluation_tokens, config.models.context
    key = "corpora.evaluation_tokens"
    require(tokens >= context, f"{key}: {tokens} is less than one context of {context}")
    for language in config.corpora.languages:
        store = f"corpora.languages: {language.name}: valid_tokens {language.valid_tokens}"
        require(language.valid_tokens > tokens, f"{store} must be above {key} {tokens}")


def _check_sizes(config: Config) -> None:
    """Names are distinct, shapes can be built, steps split evenly, resources make sense."""
    sizes, context = config.models.sizes, config.models.context
    _check_distinct("models.sizes", [name for name, *_ in config.models.members()])
    for size in sizes:
        where = f"models.sizes: {size.name}"
        if isinstance(size, TrainedSize):
            shape = f"width {size.width} is not a multiple of heads {size.heads}"
            require(size.width % size.heads == 0, f"{where}: {shape}")
        _check_steps(size, context, where)
        _check_memory(size, config, where)
        _check_resources(size.resources, config.device, f"{where}: resources")


def _check_steps(size: Size, context: int, where: str) -> None:
    """Every device gets as many sequences of a step, and every micro-batch holds as many."""
    batch, micro = size.batch_tokens, size.micro_batch_tokens
    for key, tokens in (("batch_tokens", batch), ("micro_batch_tokens", micro or context)):
        message = f"{where}: {key} {tokens} is not a multiple of models.context {context}"
        require(tokens % context == 0, message)
    of = f"models.context {context}" if micro is None else f"micro_batch_tokens {micro}"
    of = f"devices {size.devices} times {of}"
    if size.nodes > 1:
        of = f"nodes {size.nodes} times {of}"
    require(
        batch % (size.nodes * size.devices * (micro or context)) == 0,
        f"{where}: batch_tokens {batch} is not a multiple of {of}",
    )


def _check_memory(size: Size, config: Config, where: str) -> None:
    """On GPUs of known memory: weights, gradient, moments and their copy fit the size's devices."""
    capacity = CAPACITY.get(config.cost.device)
    if not config.is_trained or config.device != "cuda" or capacity is None:
        return
    n = config.n_params(size)
    need = state_bytes(n, size.devices, size.nodes)
    least = math.floor(2 * state_bytes(n, 2) / capacity) + 1
    require(
        need < capacity,
        f"{where}: devices {size.devices}: weights, gradient and moments alone take "
        f"{need / 1e9:.0f} GB of each, and cost.device {config.cost.device} has "
        f"{capacity / 1e9:.0f}; at least {least} would do",
    )


def _check_resources(resources: Resources, device: str, where: str) -> None:
    stated = resources.model_fields_set
    accepted = "threads, mem_mb, mem, runtime, gpu and resources that your cluster knows, such as "
    for name in stated:
        known = _RESOURCE.fullmatch(name) and name not in _RESERVED
        require(known, f"{where}: found {name!r}; accepted: {accepted}slurm_partition")
    for one, other in (("mem", "mem_mb"), ("gpu", "gres")):
        message = f"{where}: {one} and {other} say the same; give one"
        require(not {one, other} <= stated, message)
    gpu = resources.gpu
    counts = (gpu.pretrain, gpu.adapt) if isinstance(gpu, ByRule) else (gpu,)
    is_default = device == "cuda" and "gpu" not in stated  # as many as the size has devices
    idle = "gpu_model" in stated and 0 in counts and not is_default
    require(not idle, f"{where}: gpu_model is asked for, but gpu is 0")


def _check_checkpoints(size: ExternalSize, stages: list[float]) -> None:
    """Each checkpoint is another stage, reached after the tokens that its PTPP says."""
    where = f"models.sizes: {size.name}: checkpoints"
    _check_distinct(where, [f"{checkpoint.ptpp:g}" for checkpoint in size.checkpoints])
    seen: dict[tuple, float] = {}
    for one in size.checkpoints:
        stage = f"{where}: ptpp {one.ptpp:g}"
        accepted = f"is not among pretraining.ptpp; accepted: {', '.join(map(str, stages))}"
        require(one.ptpp in stages, f"{stage} {accepted}")
        ratio = one.tokens / size.n_params
        require(
            abs(ratio / one.ptpp - 1) <= STAGE_TOLERANCE,
            f"{stage}: tokens {one.tokens} are {ratio:.4g} per parameter (n_params "
            f"{size.n_params}); accepted is {one.ptpp:g} within {STAGE_TOLERANCE:.0%}",
        )
        twin = seen.setdefault((one.model, one.revision), one.ptpp)
        message = f"{stage} names the model of ptpp {twin:g}, {one.model}"
        require(twin == one.ptpp, message)


def _check_stages(config: Config) -> None:
    stages, held_out = config.pretraining.ptpp, config.held_out.ptpp
    _check_ascending("pretraining.ptpp", stages)
    for ptpp in stages:
        there = any(ptpp in config.stages(size) for size in config.models.sizes)
        require(there, f"pretraining.ptpp: no size has a checkpoint at {ptpp:g}")
    if held_out is None:
        return
    accepted = f"accepted: {', '.join(map(str, stages))}, or null to measure only"
    where = f"held_out.ptpp: {held_out:g}"
    require(held_out in stages, f"{where} is not among pretraining.ptpp; {accepted}")
    earlier = stages.index(held_out)
    require(
        earlier >= 2,
        f"{where} has {earlier} earlier stages in pretraining.ptpp {stages}; laws of PTPP are "
        "fitted on two or more; null measures only",
    )


def _check_anchors(config: Config) -> None:
    """Anchors come from sizes that have the held-out stage, and leave cells of it to score."""
    names = [size.name for size in config.held_out_sizes()]
    sizes, count = config.anchor_sizes(), config.held_out.anchors.count
    every, where = [size.name for size in config.models.sizes], "held_out.anchors.sizes"
    for name in sizes:
        what = "has no checkpoint at the held-out stage" if name in every else "is no size"
        require(name in names, f"{where}: {name!r} {what}; accepted: {', '.join(names)}")
    only = "only one size has the held-out stage; name it there to take anchors from it"
    require(sizes, f"{where}: {only}")
    cells = len(config.adaptation.replay) * len(config.adaptation.atpp)  # of one size
    where, most = f"held_out.anchors.count: {count} anchors", len(sizes) * cells
    what = f"have {most} cells at the held-out stage; at most {most}"
    require(count <= most, f"{where}, but sizes {', '.join(sizes)} {what}")
    left = count < len(names) * cells
    require(left, f"{where} leave no cell of the held-out stage to score")


def _check_plan(config: Config, laws: list[str]) -> None:
    """The plan's law is fitted, and its limits are possible."""
    plan, base = config.plan, list(config.corpora.base)
    for domain in plan.forgetting:
        message = f"plan.forgetting: {domain!r} is no base language; accepted: {', '.join(base)}"
        require(domain in base, f"{message}; {_take_out(domain)}")
    message = f"plan.min_atpp: {plan.min_atpp:g} must be below max_atpp {plan.max_atpp:g}"
    require(plan.min_atpp < plan.max_atpp, message)
    require(plan.law in laws, f"plan.law: found {plan.law!r}; accepted: {', '.join(laws)}")
