"""Checkpoints: Hugging Face directories that `AutoModelForCausalLM.from_pretrained` loads."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import astuple
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ptpp.errors import InputError, Unwritable
from ptpp.jobs.files import atomic_directory, read_json, sha256
from ptpp.models.sizes import ExternalSize, Shape

PREFIX = "transformer."
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
DIGESTS = "sha256.json"  # ours: what each file held when it was written
SOURCE = "source.json"  # ours: where a model from elsewhere comes from, and its parameters
_NAMES = ("model", "revision")
TEXT = "text.json"  # ours: digests of the text it was trained and measured on
SHAPE = ("n_embd", "n_layer", "n_head", "n_positions", "vocab_size")  # in the order of `Shape`


def gpt2_config(shape: Shape) -> dict:
    """The configuration by which transformers builds this GPT-2."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu",
        **dict(zip(SHAPE, astuple(shape), strict=True)),
        "tie_word_embeddings": True,
        **dict.fromkeys(("attn_pdrop", "embd_pdrop", "resid_pdrop"), 0.0),
        **dict.fromkeys(("bos_token_id", "eos_token_id"), 0),
        "dtype": "float32",
    }


def save_checkpoint(
    shape: Shape,
    parameters: Mapping[str, torch.Tensor],
    directory: str | Path,
    tokenizer: str | Path,
    text: Mapping | None = None,
) -> None:
    """Write weights, configuration, tokenizer and the digest of each file, all or nothing.

    parameters: a GPT-2's, by their names without "transformer.". text: JSON-able, what tells the
    text of this checkpoint from any other; `text_of` reads it.
    """
    from ptpp.text.tokenizer import separator_id

    with atomic_directory(directory) as temporary:
        config = gpt2_config(shape)
        if (Path(tokenizer) / "tokenizer_config.json").exists():
            config |= dict.fromkeys(("bos_token_id", "eos_token_id"), separator_id(tokenizer))
        (temporary / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        tensors = {PREFIX + name: tensor.cpu().clone() for name, tensor in parameters.items()}
        try:
            save_file(tensors, temporary / "model.safetensors", metadata={"format": "pt"})
        except SafetensorError as error:
            raise Unwritable(
                f"{directory}: cannot be written ({error}); "
                "make room, then run the same command again"
            ) from None
        complete(temporary, tokenizer, text)


def complete(directory: Path, tokenizer: str | Path, text: Mapping | None) -> None:
    """Add the tokenizer, the record of the text, and what `check_digests` reads of every file."""
    for source in (Path(tokenizer) / name for name in TOKENIZER_FILES):
        if source.exists():
            shutil.copyfile(source, directory / source.name)
    if text is not None:
        (directory / TEXT).write_text(json.dumps(text, indent=2) + "\n")
    digests = {path.name: sha256(path) for path in sorted(directory.iterdir())}
    (directory / DIGESTS).write_text(json.dumps(digests, indent=2) + "\n")


def read_parameters(
    directory: str | Path, sizes: Mapping[str, tuple[int, ...]]
) -> dict[str, torch.Tensor]:
    """A GPT-2's parameters of these names and shapes; InputError when one is absent or another."""
    path = Path(directory) / "model.safetensors"
    tensors = {}
    try:
        with safe_open(path, framework="pt") as stream:
            for name, size in sizes.items():
                tensors[name] = stream.get_tensor(PREFIX + name)
                if tensors[name].shape != size:
                    found = tuple(tensors[name].shape)
                    raise InputError(f"{name} has shape {found}, expected {size}")
    except (OSError, SafetensorError, InputError) as error:
        raise InputError(f"{path}: cannot be read as GPT-2 weights ({error})") from None
    return tensors


def read_shape(directory: str | Path, expected: Shape | None = None) -> Shape:
    """The shape of a GPT-2 of ours; InputError when it is another model, or not as expected."""
    directory = Path(directory)
    config = read_json(directory / "config.json")
    expected_values = {"model_type": "gpt2", "activation_function": "gelu"}
    wrong = [(key, repr(v)) for key, v in expected_values.items() if config.get(key) != v]
    counts = [key for key in SHAPE if isinstance(config.get(key), int) and config[key] > 0]
    wrong += [(key, "a whole number above 0") for key in SHAPE if key not in counts]
    for key, accepted in wrong:
        raise InputError(
            f"{directory}/config.json: {key} is {config.get(key)!r}, expected {accepted}"
        )
    shape = Shape(*(config[key] for key in SHAPE))
    if expected not in (None, shape):
        raise InputError(f"{directory}: shape {shape} is not the configured {expected}")
    return shape


def text_of(directory: str | Path) -> object:
    """The record of its text that a checkpoint was saved with; None without one."""
    path = Path(directory) / TEXT
    return read_json(path) if path.exists() else None


def external_size(directory: str | Path, context: int) -> ExternalSize:
    """The counts of a model from elsewhere, as recorded when it was adopted."""
    counts = _adopted(directory, "n_params", "n_params_non_embedding", "vocab_size")
    return ExternalSize(*counts[:2], context, counts[2])


def external_tokens(directory: str | Path) -> int:
    """Tokens that a model from elsewhere has read, as declared when it was adopted."""
    return _adopted(directory, "tokens")[0]


def _adopted(directory: str | Path, *names: str) -> tuple[int, ...]:
    path = Path(directory) / SOURCE
    record = read_json(path)
    try:
        return tuple(record[name] for name in names)
    except (KeyError, TypeError):
        raise InputError(
            f"{path}: is not what was written there; delete {directory} and run again"
        ) from None


def weights_digest(directory: str | Path) -> str:
    """A digest of the weights, one file or several; of what `complete` recorded, if it did."""
    directory = Path(directory)
    recorded = read_json(directory / DIGESTS) if (directory / DIGESTS).exists() else {}
    sums = {
        path.name: recorded.get(path.name) or sha256(path)
        for path in sorted(directory.glob("*.safetensors"))
    }
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def check_other_stages(directory: str | Path, weights: str | Path | None = None) -> None:
    """Raise InputError when another stage of the same model, beside `directory`, is the same.

    weights: the folder that is to become `directory`, where it has not yet. What ids of the Hub
    name as different checkpoints is not always that.
    """
    directory = Path(directory)
    digest = weights_digest(weights or directory)
    for other in sorted(directory.parent.glob("ptpp*")):
        is_other = other.name != directory.name and (other / SOURCE).exists()
        if is_other and weights_digest(other) == digest:
            one, two = (
                " ".join(filter(None, (read_json(each / SOURCE).get(key) for key in _NAMES)))
                for each in (Path(weights or directory), other)
            )
            raise InputError(
                f"{directory.parent.name}: {directory.name} ({one}) and {other.name} ({two}) have "
                "the same weights, byte for byte; one of them is not what its name says"
            )


def check_digests(directory: str | Path) -> None:
    """Nothing may have changed since the checkpoint was written; foreign ones carry no digests."""
    directory = Path(directory)
    if not (directory / DIGESTS).exists():
        return
    for name, digest in read_json(directory / DIGESTS).items():
        path = directory / Path(name).name
        if not path.is_file() or sha256(path) != digest:
            raise InputError(
                f"{path}: is not what was written there (damaged, cut short or replaced); "
                f"delete {directory} and run again"
            )
