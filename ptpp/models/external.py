"""Models and tokenizers from elsewhere: how they are named and which of their files are read.

A model is a Hugging Face directory on this machine, or a Hub id with a revision. Only
configurations, safetensors and tokenizer files are ever taken: no pickles, no code.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from ptpp.errors import InputError
from ptpp.jobs.files import read_json

log = logging.getLogger("ptpp")

INDEX = "model.safetensors.index.json"
CONFIGS = ("config.json", "generation_config.json")
TOKENIZER_FILES = (
    *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "merges.txt"),
)
_PART = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_HUB_ID = re.compile(rf"{_PART}/{_PART}")
_REVISION = re.compile(rf"{_PART}(/{_PART})*")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def check_name(model: str, revision: str | None, key: str) -> None:
    """Raise InputError, naming `key`, unless `model` is a directory, or a Hub id with a revision.

    The revision is required: what a branch of the Hub holds changes without notice, and a mistyped
    directory would else be taken for a Hub id.
    """
    if Path(model).is_dir():
        if revision is not None:
            raise InputError(f"{key}: {model}: is a directory, which has no revision {revision!r}")
        return
    if not _HUB_ID.fullmatch(model) or ".." in model:
        raise InputError(f"{key}: {model}: no such directory, and no Hub id (organisation/name)")
    if revision is None:
        raise InputError(
            f"{key}: {model}: no such directory; a model of the Hub also needs `revision`, a commit"
        )
    if not _REVISION.fullmatch(revision) or ".." in revision:
        raise InputError(f"{key}: revision: found {revision!r}; accepted is a commit or a branch")


def fetch_model(model: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """The directory of a model: itself, or the Hub's files that match `patterns`, downloaded.

    Downloads land in the cache of huggingface_hub, once. A revision that is no commit is warned of.
    Raises InputError when the Hub cannot be reached or knows no such model.
    """
    check_name(model, revision, "model")
    if Path(model).is_dir():
        return Path(model)
    import huggingface_hub

    try:
        folder = Path(
            huggingface_hub.snapshot_download(model, revision=revision, allow_patterns=[*patterns])
        )
    except Exception as error:  # the library raises a dozen kinds, none of them its own base
        reason = explain_hub_error(error)
        raise InputError(f"{model}, revision {revision}: not to be had ({reason})") from None
    if not _COMMIT.fullmatch(revision):
        log.warning(
            "%s: revision %s can change; pin what was read: revision: %s",
            *(model, revision, folder.name),
        )
    return folder


def explain_hub_error(error: Exception) -> str:
    """What went wrong at the Hub, in one line, and what opens a gated or private repository."""
    line = " ".join(f"{type(error).__name__}: {error}".split())
    if not re.search(r"\b(401|403)\b|gated|authenticated", line, re.IGNORECASE):
        return line
    return f"{line}; to read it, accept its terms on the Hub and set HF_TOKEN"


def model_files(directory: str | Path) -> list[Path]:
    """Configuration and weights of a Hugging Face directory, sorted: JSON and safetensors alone.

    Raises InputError when there is no configuration, or when its weights are absent or pickles.
    """
    directory = Path(directory)
    if not (directory / "config.json").is_file():
        raise InputError(f"{directory}/config.json: no such file")
    is_sharded = (directory / INDEX).is_file()
    weights = _shards(directory) if is_sharded else [directory / "model.safetensors"]
    for path in weights:
        if not path.is_file():
            pickles = sorted(directory.glob("*.bin")) + sorted(directory.glob("*.pt*"))
            hint = f"; {pickles[0].name} is a pickle, which is never read" if pickles else ""
            raise InputError(
                f"{path}: no such file{hint}; `save_pretrained` of transformers writes safetensors"
            )
    names = (*CONFIGS, INDEX)
    return sorted([*(directory / name for name in names if (directory / name).is_file()), *weights])


def tokenizer_files(directory: str | Path) -> list[Path]:
    """Tokenizer files of a Hugging Face directory, sorted; InputError without tokenizer.json."""
    directory = Path(directory)
    if not (directory / "tokenizer.json").is_file():
        raise InputError(
            f"{directory}/tokenizer.json: no such file; accepted are fast tokenizers, as "
            "`AutoTokenizer.from_pretrained(...).save_pretrained(...)` writes them"
        )
    names = ("config.json", *TOKENIZER_FILES)
    return sorted(directory / name for name in names if (directory / name).is_file())


def _shards(directory: Path) -> list[Path]:
    """The files that an index of weights names, all in the directory itself."""
    index = directory / INDEX
    record = read_json(index)
    names = record.get("weight_map") if isinstance(record, dict) else None
    if not isinstance(names, dict) or not names:
        raise InputError(f"{index}: names no weights")
    for name in names.values():
        if not isinstance(name, str) or not re.fullmatch(rf"{_PART}[.]safetensors", name):
            raise InputError(f"{index}: names {name!r}; accepted are safetensors files beside it")
    return sorted({directory / name for name in names.values()})
