"""Checkpoints of the user's own: checked, linked and measured where others are trained."""

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from ptpp.errors import InputError
from ptpp.jobs.files import atomic_directory, link, read_json, write_json
from ptpp.jobs.progress import NO_WATCH, Watch
from ptpp.models.backend import opened
from ptpp.models.checkpoint import GIVEN, TEXT, write_digests
from ptpp.models.checkpoint import TOKENIZER_FILES as OURS
from ptpp.models.external import CONFIGS, INDEX, TOKENIZER_FILES, fetched, model_files
from ptpp.models.group import ALONE, Group
from ptpp.models.sizes import Given
from ptpp.text.tokenizer import check_same_tokenizer, load_tokenizer, vocabulary_size
from ptpp.training.evaluation import held_out_losses
from ptpp.training.runs import Run, cost_of, rows_of, write_rows
from ptpp.training.text import Text

log = logging.getLogger("ptpp")

PATTERNS = (*CONFIGS, INDEX, "model*.safetensors", *TOKENIZER_FILES)


def take_checkpoint(
    given: Mapping, spec: Mapping, text: Mapping, tokenizer: str | Path, directory: str | Path
) -> None:
    """Make `directory` a checkpoint of the experiment from a model of the user's own.

    given: an entry of `checkpoints`: model, revision, tokens. spec: as for `Run.of`, its size with
    the declared n_params. text: what the losses will be measured on, `Text.of_measurement`.
    tokenizer: the experiment's, which the model must be able to read.

    Weights and configuration are linked (copied, where the disk is another), the tokenizer is
    the experiment's. Raises InputError when the model is not of the declared size, has too small a
    vocabulary or too short a context, brings another tokenizer, or cannot be had.
    """
    source = fetched(given["model"], given.get("revision"), PATTERNS)
    files = model_files(source)
    check_same_tokenizer(source, tokenizer)
    counted, longest = count_parameters(source, spec["context"])
    name, declared = spec["size"]["name"], spec["size"]["n_params"]
    found = counted.count(spec["count"])
    if found != declared:
        raise InputError(
            f"models.sizes: {name}: n_params {declared} is declared, but {given['model']} has "
            f"{found} (models.count: {spec['count']}); set it to that, and ptpp to "
            f"{given['tokens'] / found:.4g}"
        )
    ids = vocabulary_size(load_tokenizer(tokenizer))
    if counted.vocab_size < ids:
        raise InputError(
            f"{given['model']}: its vocabulary of {counted.vocab_size} cannot hold the "
            f"tokenizer's {ids} ids"
        )
    if longest is not None and longest < spec["context"]:
        raise InputError(
            f"{given['model']}: takes {longest} tokens at most, but models.context is "
            f"{spec['context']}"
        )
    with atomic_directory(directory) as temporary:
        for path in files:
            link(path, temporary / path.name)
        for path in (Path(tokenizer) / name for name in OURS):
            if path.exists():
                shutil.copyfile(path, temporary / path.name)
        record = {
            "model": given["model"],
            "revision": given.get("revision") and source.name,  # the Hub's folders are commits
            "tokens": given["tokens"],
            "n_params": counted.n_params,
            "n_params_non_embedding": counted.n_params_non_embedding,
            "vocab_size": counted.vocab_size,
        }
        write_json(temporary / GIVEN, record)
        (temporary / TEXT).write_text(json.dumps(text, indent=2) + "\n")
        write_digests(temporary)


def count_parameters(directory: str | Path, context: int) -> tuple[Given, int | None]:
    """What a model's configuration amounts to, no weights read, and its longest context if any.

    Embeddings are all lookup tables, positions included, and the output layer; tied parameters
    count once. Raises InputError for a model that transformers cannot build without code of the
    checkpoint's own, which is never run.
    """
    from transformers import CONFIG_MAPPING, AutoConfig, AutoModelForCausalLM

    written = read_json(Path(directory) / "config.json")
    if not isinstance(written, dict) or written.get("model_type") not in CONFIG_MAPPING:
        kind = written.get("model_type") if isinstance(written, dict) else None
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
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{directory}: not a causal language model ({said})") from None
    if getattr(config, "quantization_config", None) is not None:
        raise InputError(f"{directory}/config.json: quantised weights cannot be trained on")
    tables = [part for part in module.modules() if isinstance(part, torch.nn.Embedding)]
    head = module.get_output_embeddings()
    outer = {
        id(each): each
        for part in [*tables, *([head] if head is not None else [])]
        for each in part.parameters()
    }
    total = sum(each.numel() for each in module.parameters())
    inner = total - sum(each.numel() for each in outer.values())
    longest = getattr(config, "max_position_embeddings", None)
    return Given(total, inner, context, config.vocab_size), longest


def measure(
    run: Run,
    ptpp: float,
    text: Text,
    checkpoint: str | Path,
    zero_shot: str | Path,
    cost: str | Path,
    group: Group = ALONE,
    micro_batch: int | None = None,
    stopping: Callable[[], bool] = lambda: False,
    watch: Watch = NO_WATCH,
) -> None:
    """Write a checkpoint's held-out losses as zero-shot observations (ATPP 0), and what they took.

    All processes of a `group` call this alike. It is short: there is nothing to watch, nor to save
    when `stopping` turns true. Raises InputError when a loss is not finite.
    """
    began = time.monotonic()
    context = run.shape.context
    backend = opened(checkpoint, run.trained, context, run.device, group, micro_batch)
    losses = held_out_losses(backend, text.evaluation(context))
    for domain, loss in losses.items():
        if not math.isfinite(loss):
            raise InputError(f"{checkpoint}: its {domain} loss is {loss}; expected a finite number")
    if not group.leads:
        return
    guess = math.log(run.shape.vocab_size)
    for domain in text.base:
        if losses[domain] >= guess:
            log.warning(
                "%s: its %s loss of %.3f nats is no better than a uniform guess (%.3f): is this "
                "its tokenizer?",
                *(checkpoint, domain, losses[domain], guess),
            )
    name = f"{run.model}.ptpp{ptpp:g}"
    write_rows(rows_of(run, f"{name}.zero_shot", ptpp, 0.0, 0.0, 0, losses, text), zero_shot)
    write_rows([cost_of(run, f"{name}.adopted", 0, began, group.size)], cost)
