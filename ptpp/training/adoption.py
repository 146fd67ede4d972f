"""Checkpoints from elsewhere: checked, linked and measured where others are trained."""

import contextlib
import logging
import math
import textwrap
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch

from ptpp.errors import InputError
from ptpp.jobs.files import atomic_directory, link, read_json, write_json
from ptpp.models.backend import open_model
from ptpp.models.checkpoint import SOURCE, check_other_stages, complete
from ptpp.models.external import CONFIGS, INDEX, TOKENIZER_FILES, fetch_model, model_files
from ptpp.models.sizes import ExternalSize
from ptpp.text.tokenizer import check_same_tokenizer, load_tokenizer, vocabulary_size
from ptpp.training.data import Text
from ptpp.training.job import SINGLE, MeasureJob, Model, Process
from ptpp.training.measurement import (
    check_finite,
    cost_row,
    held_out_losses,
    observation_rows,
    write_rows,
)

log = logging.getLogger("ptpp")

PATTERNS = (*CONFIGS, INDEX, "model*.safetensors", *TOKENIZER_FILES)


def adopt_checkpoint(
    entry: Mapping, model: Model, text: Mapping, tokenizer: str | Path, directory: str | Path
) -> None:
    """Make `directory` a checkpoint of the experiment from a model that was trained elsewhere.

    entry: one of `checkpoints`: model, revision, tokens. text: what the losses will be measured on,
    `Text.of_measurement`. tokenizer: the experiment's, which the model must be able to read.

    Weights and configuration are linked (copied, where the disk is another), the tokenizer is
    the experiment's. Raises InputError as `check_external_model` does, when the model brings
    another tokenizer, and when its weights are those of another stage.
    """
    source = fetch_model(entry["model"], entry.get("revision"), PATTERNS)
    files = model_files(source)
    check_same_tokenizer(source, tokenizer)
    counts = check_external_model(source, entry, model, tokenizer)
    with atomic_directory(directory) as temporary:
        for path in files:
            link(path, temporary / path.name)
        revision = entry.get("revision") and source.name  # the Hub's folders are commits
        record = {"model": entry["model"], "revision": revision, "tokens": entry["tokens"]}
        sizes = ("n_params", "n_params_non_embedding", "vocab_size")
        write_json(temporary / SOURCE, record | {name: getattr(counts, name) for name in sizes})
        complete(temporary, tokenizer, text)
        check_other_stages(directory, temporary)


def check_external_model(
    source: str | Path, entry: Mapping, model: Model, tokenizer: str | Path
) -> ExternalSize:
    """The counts of the model in `source`, from its config.json alone: no weights are read.

    Raises InputError unless it has the declared n_params, a vocabulary for the tokenizer's ids and
    a context of `model.context` or more.
    """
    counts, longest = count_parameters(source, model.context)
    name, n_params = entry["model"], counts.count(model.count)
    if n_params != model.n_params:
        raise InputError(
            f"models.sizes: {model.size}: n_params {model.n_params} is declared, but {name} has "
            f"{n_params} (models.count: {model.count}); set it to that, and ptpp to "
            f"{entry['tokens'] / n_params:.4g}"
        )
    ids = vocabulary_size(load_tokenizer(tokenizer))
    if counts.vocab_size < ids:
        raise InputError(
            f"{name}: its vocabulary of {counts.vocab_size} cannot hold the tokenizer's {ids} ids"
        )
    if longest is not None and longest < model.context:
        raise InputError(
            f"{name}: takes {longest} tokens at most, but models.context is {model.context}"
        )
    return counts


def check_declarations(models: list[dict], tokenizer: str | Path) -> None:
    """Check every checkpoint of `models` by its config.json, before any text is tokenised.

    models: pairs of a `model`, the fields of `Model`, and an `entry`, one of its checkpoints.
    """
    for each in models:
        entry = each["entry"]
        source = fetch_model(entry["model"], entry.get("revision"), CONFIGS)
        check_external_model(source, entry, Model(**each["model"]), tokenizer)


def count_parameters(directory: str | Path, context: int) -> tuple[ExternalSize, int | None]:
    """What a model's configuration amounts to, no weights read, and its longest context if any.

    Embeddings are all lookup tables, positions included, and the output layer; tied parameters
    count once. Raises InputError for a model that transformers cannot build without remote code.
    """
    from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM

    written = read_json(Path(directory) / "config.json")
    kind = written.get("model_type") if isinstance(written, dict) else None
    if kind not in CONFIG_MAPPING:
        raise InputError(
            f"{directory}/config.json: model_type {kind!r} is none that transformers knows; code "
            "of a checkpoint's own is never run"
        )
    try:
        config = AutoConfig.from_pretrained(
            directory, trust_remote_code=False, local_files_only=True
        )
        with torch.device("meta"):
            module = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    except Exception as error:  # a dozen kinds, none of them the library's own
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", 200, placeholder=" ...")
        raise InputError(f"{directory}: not a causal language model ({reason})") from None
    if getattr(config, "quantization_config", None) is not None:
        raise InputError(f"{directory}/config.json: quantised weights cannot be trained on")
    tables = [part for part in module.modules() if isinstance(part, torch.nn.Embedding)]
    head = module.get_output_embeddings()
    outer = {each for part in [*tables, head] if part is not None for each in part.parameters()}
    total = sum(each.numel() for each in module.parameters())
    inner = total - sum(each.numel() for each in outer)
    text = config.get_text_config()  # of a model that sees pictures as well, a part
    longest = getattr(text, "max_position_embeddings", None)
    return ExternalSize(total, inner, context, text.vocab_size), longest


def measure(job: MeasureJob, process: Process = SINGLE) -> None:
    """Write a checkpoint's held-out losses as zero-shot observations (ATPP 0), and what they took.

    All processes of a group call this alike. It is short: there is nothing to watch, nor to save
    on a stop. Raises InputError when a loss is not finite.
    """
    began = time.monotonic()
    context = job.model.context
    text = Text.open(**job.text)
    with _name_source(job.checkpoint):
        backend = open_model(job.checkpoint, job.gpt2, context, job.placement(process.group))
        losses = held_out_losses(backend, text.evaluation(context))
        check_finite(losses, job.checkpoint, "; expected a finite number")
    if not process.group.is_main:
        return
    guess = math.log(job.shape.vocab_size)
    for domain in text.base:
        if losses[domain] >= guess:
            log.warning(
                "%s: its %s loss of %.3f nats is no better than a uniform guess (%.3f): is this "
                "its tokenizer?",
                *(job.checkpoint, domain, losses[domain], guess),
            )
    write_rows(observation_rows(job, losses, text, f"{job.name}.zero_shot"), job.zero_shot)
    seconds = time.monotonic() - began
    write_rows([cost_row(job, f"{job.name}.adopted", 0, seconds, process.group.size)], job.cost)


@contextlib.contextmanager
def _name_source(checkpoint: str | Path) -> Iterator[None]:
    """Errors say what was linked as well: the link goes when its job fails."""
    try:
        yield
    except InputError as error:
        model = read_json(Path(checkpoint) / SOURCE)["model"]
        raise InputError(f"{error} (linked from {model})") from None
