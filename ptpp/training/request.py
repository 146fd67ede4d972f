"""A plan to carry out on a checkpoint and text of one's own, as the job that does it."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ptpp.errors import InputError
from ptpp.jobs.code_digest import code_digest
from ptpp.jobs.files import read_json, write_text
from ptpp.models.checkpoint import DIGESTS, read_shape, text_of, weights_digest
from ptpp.models.sizes import COUNT_RULES, ExternalSize, Shape
from ptpp.planning.applied import SAME_SIZE, ChosenPlan
from ptpp.text.sources import SPLITS, documents, source_digest
from ptpp.text.store import held_out_documents, open_store, write_store
from ptpp.text.tokenizer import (
    adopt_tokenizer,
    beginning_id,
    digest,
    load_tokenizer,
    separator_id,
)
from ptpp.training.adoption import adopt_checkpoint, count_parameters
from ptpp.training.application import ApplyJob
from ptpp.training.data import Text
from ptpp.training.job import Model, Runtime

RECORD = "applied.json"
EVALUATION_TOKENS = 8_192
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,40}")  # of a domain, which becomes a file's
_ENDS = {"jsonl": ".jsonl", "text": ".txt"}
_PACKED = ("", ".xz", ".gz", ".zst")


@dataclass(frozen=True)
class Corpus:
    """The text of an adaptation. `folder` holds <domain>.<split>.bin, token stores as the workflow
    writes them, or, `is_text`, <domain>.<split>.jsonl or .txt (also .xz, .gz, .zst), where split is
    train or valid. `mix`: shares of the base domains in replayed text. `evaluation_tokens`: of
    held-out text per domain; None: as the checkpoint was measured.
    """

    folder: str
    is_text: bool
    target: str
    mix: Mapping[str, float]
    evaluation_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in (self.target, *self.mix):
            if not _NAME.fullmatch(name):
                raise InputError(f"domain {name!r:.80}: letters, digits, - and _ only, at most 41")
        if self.target in self.mix:
            raise InputError(f"base: {self.target} is the target; accepted are other domains")
        if not self.mix or min(self.mix.values()) < 0 or not sum(self.mix.values()) > 0:
            raise InputError("base: accepted are shares from 0 on, one of them above 0")

    def check(self) -> None:
        """Raise InputError where a domain's text or store is missing or damaged."""
        for domain in (self.target, *self.mix):
            if self.is_text:
                _find_text(self.folder, domain)
                continue
            for paths in _store_paths(self.folder, [domain]).values():
                open_store(paths[0])

    def shares(self) -> dict[str, float]:
        """The mix, with a sum of 1."""
        total = sum(self.mix.values())
        return {name: share / total for name, share in self.mix.items()}


@dataclass(frozen=True)
class Training:
    """How the checkpoint is adapted: `optimiser` as for `Settings.of`, where base_width None is the
    model's own width. `batch_tokens`: tokens of a step. `context`: tokens of a sequence; None: the
    longest of a GPT-2 of ours.
    """

    optimiser: Mapping
    batch_tokens: int
    context: int | None
    seed: int
    device: str
    micro_batch_tokens: int | None = None
    runtime: Runtime = field(default_factory=Runtime)


def read_size(checkpoint: str | Path, context: int | None) -> Shape | ExternalSize:
    """The size of the model in a directory: of a GPT-2 of ours, or of any other that transformers
    knows. Raises InputError where there is none, or no `context` for one from elsewhere.
    """
    config = read_json(Path(checkpoint) / "config.json")
    if not isinstance(config, dict):
        raise InputError(f"{checkpoint}/config.json: not the configuration of a model")
    kind = [config.get(key) for key in ("model_type", "activation_function")]
    if kind == ["gpt2", "gelu"]:
        return read_shape(checkpoint)
    if context is None:
        raise InputError(f"{checkpoint}: not a GPT-2 of ours; give --context, tokens of a sequence")
    return count_parameters(checkpoint, context)[0]


def count_rule(size: Shape | ExternalSize, n_params: float, checkpoint: str | Path) -> str:
    """By which rule a model has the N of a plan, within 1 %; raises InputError for neither."""
    for rule in COUNT_RULES:
        if abs(size.count(rule) / n_params - 1) <= SAME_SIZE:
            return rule
    raise InputError(
        f"{checkpoint}: has {size.n_params:,} parameters ({size.n_params_non_embedding:,} without "
        f"embeddings), but the plan is for {n_params:,.0f}"
    )


def make_job(
    plan: ChosenPlan,
    checkpoint: str | Path,
    corpus: Corpus,
    training: Training,
    out: str | Path,
    name: str,
) -> ApplyJob:
    """The job that carries `plan` out on a checkpoint, with all outputs in the folder `out`.

    name: the size's in tables. Raises InputError where `out` holds anything but this application,
    finished or not, and for a checkpoint or text that the plan cannot be carried out on.
    """
    out, state = Path(out), Path(out) / ".state"
    size = read_size(checkpoint, training.context)
    rule = count_rule(size, plan.n_params, checkpoint)
    is_ours = isinstance(size, Shape)
    shape = {"n_params": size.count(rule)}
    if is_ours:
        shape = {key: getattr(size, key) for key in ("width", "depth", "heads")}
    model = Model(
        name=name,
        size=name,
        seed=training.seed,
        context=size.context,
        vocab_size=size.vocab_size,
        count=rule,
        device=training.device,
        batch_tokens=training.batch_tokens,
        micro_batch_tokens=training.micro_batch_tokens,
        **shape,
    )
    if training.context not in (None, size.context):
        raise InputError(f"context: {training.context}, but {checkpoint} has {size.context}")
    if training.batch_tokens < size.context:
        raise InputError(f"batch_tokens: {training.batch_tokens}, less than a sequence")
    optimiser = dict(training.optimiser)
    if optimiser["base_width"] is None:
        optimiser["base_width"] = size.width if is_ours else 1
    recorded = text_of(checkpoint)
    known = recorded.get("evaluation_tokens") if isinstance(recorded, dict) else None
    tokens = corpus.evaluation_tokens or known or EVALUATION_TOKENS
    mix = {"target": corpus.target, "base": corpus.shares(), "evaluation_tokens": tokens}
    claim(
        out,
        {
            "plan": asdict(plan),
            "checkpoint": weights_digest(checkpoint),
            "model": asdict(model),
            "optimiser": optimiser,
            "text": mix,
        },
    )
    source, tokenizer = Path(checkpoint), Path(checkpoint)
    if not (source / DIGESTS).exists():  # none that the workflow wrote
        tokenizer = state / "tokenizer"
        adopt_tokenizer(str(checkpoint), None, size.vocab_size, tokenizer)
    text = {**mix, **_stores(corpus, plan, tokenizer, state / "tokens")}
    if not is_ours and tokenizer != source:
        entry = {"model": str(checkpoint), "tokens": round(plan.ptpp * plan.n_params)}
        source = state / "base"
        adopt_checkpoint(entry, model, Text.open(**text).of_measurement(), tokenizer, source)
    return ApplyJob(
        model=model,
        ptpp=plan.ptpp,
        replay=plan.replay,
        atpp=plan.atpp,
        text=text,
        optimiser=optimiser,
        code=code_digest("ptpp.training.application"),
        checkpoint=str(source),
        tokenizer=str(tokenizer),
        state=str(state / "training"),
        finished=str(state / "finished"),
        adapted=str(out / "checkpoint"),
        zero_shot=str(out / "zero_shot.csv"),
        observations=str(out / "observations.csv"),
        cost=str(out / "cost.csv"),
        runtime=training.runtime,
    )


def claim(out: Path, record: Mapping) -> None:
    """Mark the folder `out` as that of one application, by `record`; InputError if it is another's.

    A finished or interrupted run of the same application may go on in it.
    """
    check_free(out)
    path, text = out / RECORD, json.dumps(record, indent=2) + "\n"
    if path.is_file() and path.read_bytes() != text.encode():
        raise InputError(
            f"{out}: holds another plan, checkpoint or settings, carried out; accepted is "
            "another folder"
        )
    if not path.is_file():
        write_text(path, text)


def check_free(out: str | Path) -> None:
    """Raise InputError unless a folder is absent, empty or an application's."""
    out = Path(out)
    is_free = not out.exists() or (out.is_dir() and not any(out.iterdir()))
    if not is_free and not (out / RECORD).is_file():
        raise InputError(f"{out}: exists, and not by this command; accepted is another folder")


def _stores(
    corpus: Corpus, plan: ChosenPlan, tokenizer: Path, folder: Path
) -> dict[str, list[str]]:
    """Training and validation stores of every domain, by split; of text they are written first."""
    domains = [corpus.target, *corpus.mix]
    paths = _store_paths(folder if corpus.is_text else corpus.folder, domains)
    if corpus.is_text:
        shares = {name: plan.replay * share for name, share in corpus.shares().items()}
        shares[corpus.target] = 1 - plan.replay
        for domain in domains:
            # A little more than is read, so that rounding repeats no text.
            needed = math.ceil(1.01 * shares[domain] * plan.atpp * plan.n_params) + 10_000
            _tokenise(corpus.folder, domain, tokenizer, folder, needed)
    expected = digest(load_tokenizer(tokenizer))
    for path in (each for every in paths.values() for each in every):
        if open_store(path).info.tokenizer != expected:
            raise InputError(f"{path}: was written with another tokenizer than the checkpoint's")
    return paths


def _store_paths(folder: str | Path, domains: Sequence[str]) -> dict[str, list[str]]:
    return {
        split: [str(Path(folder) / f"{domain}.{split}.bin") for domain in domains]
        for split in SPLITS
    }


def _tokenise(folder: str, domain: str, tokenizer: Path, into: Path, tokens: int) -> None:
    """Write both stores of one domain, unless the same text stands there already."""
    spec = _find_text(folder, domain)
    made_from, held_out = source_digest(spec), set()
    for split, limit in (("valid", None), ("train", tokens)):
        path = into / f"{domain}.{split}.bin"
        if not _is_store_of(path, made_from):
            write_store(
                documents(spec, split),
                load_tokenizer(tokenizer),
                path,
                limit,
                made_from,
                exclude=held_out,
                separator=separator_id(tokenizer),
                beginning=beginning_id(tokenizer),
            )
        if split == "valid":
            held_out = held_out_documents(documents(spec, "valid"), path)


def _is_store_of(path: Path, source: str) -> bool:
    try:
        return open_store(path).info.source == source
    except InputError:
        return False


def _find_text(folder: str, domain: str) -> dict:
    """The files of one domain, as `ptpp.text.sources.documents` reads them."""
    for source, end in _ENDS.items():
        found = {
            split: [
                str(path)
                for packed in _PACKED
                if (path := Path(folder) / f"{domain}.{split}{end}{packed}").is_file()
            ]
            for split in SPLITS
        }
        if found["train"] and found["valid"]:
            return {"source": source, **found}
    raise InputError(
        f"{folder}: no {domain}.train.jsonl and {domain}.valid.jsonl; accepted are both splits as "
        ".jsonl or .txt, plain or .xz, .gz, .zst"
    )
