"""Checkpoints: Hugging Face directories that `AutoModelForCausalLM.from_pretrained` loads."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ptpp.errors import InputError, Unwritable
from ptpp.jobs.files import atomic_directory, read_json, sha256
from ptpp.models.sizes import ExternalSize, Shape
from ptpp.models.weights import Weights, parameter_shapes
from ptpp.text.tokenizer import separator_id

PREFIX = "transformer."
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
DIGESTS = "sha256.json"  # ours: what each file held when it was written
SOURCE = "source.json"  # ours: where a model from elsewhere comes from, and its parameters
TEXT = "text.json"  # ours: digests of the text it was trained and measured on
ACTIVATIONS = ("gelu",)
SHAPE = ("n_embd", "n_layer", "n_head", "n_positions", "vocab_size")  # in the order of `Shape`


def gpt2_config(shape: Shape) -> dict:
    """The configuration by which transformers builds this GPT-2."""
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "activation_function": "gelu",
        "n_embd": shape.width,
        "n_layer": shape.depth,
        "n_head": shape.heads,
        "n_positions": shape.context,
        "vocab_size": shape.vocab_size,
        "tie_word_embeddings": True,
        "attn_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "resid_pdrop": 0.0,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "dtype": "float32",
    }


def save_checkpoint(
    weights: Weights, directory: str | Path, tokenizer: str | Path, text: Mapping | None = None
) -> None:
    """Write weights, configuration, tokenizer and the digest of each file, all or nothing.

    text: JSON-able, what tells the text of this checkpoint from any other; `text_of` reads it.
    """
    write_checkpoint(weights.shape, weights.parameters, directory, tokenizer, text)


def write_checkpoint(
    shape: Shape,
    parameters: Mapping[str, torch.Tensor],
    directory: str | Path,
    tokenizer: str | Path,
    text: Mapping | None,
) -> None:
    """The same from a GPT-2's parameters by name, whoever holds them."""
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
        for name in TOKENIZER_FILES:
            source = Path(tokenizer) / name
            if source.exists():
                shutil.copyfile(source, temporary / name)
        if text is not None:
            (temporary / TEXT).write_text(json.dumps(text, indent=2) + "\n")
        write_digests(temporary)


def write_digests(directory: Path) -> None:
    """Record what each file of a directory holds, for `check_digests`."""
    digests = {path.name: sha256(path) for path in sorted(directory.iterdir())}
    (directory / DIGESTS).write_text(json.dumps(digests, indent=2) + "\n")


def load_checkpoint(directory: str | Path) -> Weights:
    """Read a directory written by `save_checkpoint`, or by transformers for the same architecture.

    Raises InputError when a file is absent, is not what was written, or holds another architecture.
    """
    check_digests(Path(directory))
    weights = Weights(_shape(Path(directory)))
    _read_parameters(Path(directory), weights)
    return weights


def read_weights(directory: str | Path, weights: Weights) -> None:
    """Fill `weights`, which were loaded from the same directory, anew: no moments, no steps."""
    check_digests(Path(directory))
    _read_parameters(Path(directory), weights)
    weights.first.zero_()
    weights.second.zero_()
    weights.steps = 0


def _read_parameters(directory: Path, weights: Weights) -> None:
    path = directory / "model.safetensors"
    try:
        with safe_open(path, framework="pt") as stream:
            for name, size in parameter_shapes(weights.shape).items():
                tensor = stream.get_tensor(PREFIX + name)
                if tensor.shape != size:
                    raise InputError(f"{name} has shape {tuple(tensor.shape)}, expected {size}")
                weights.parameters[name].copy_(tensor)
    except (OSError, SafetensorError, InputError) as error:
        raise InputError(f"{path}: cannot be read as GPT-2 weights ({error})") from None


def check_shape(directory: str | Path, shape: Shape) -> None:
    """Raise InputError unless the directory holds a GPT-2 of ours of this shape."""
    found = _shape(Path(directory))
    if found != shape:
        raise InputError(f"{directory}: shape {found} is not the configured {shape}")


def _shape(directory: Path) -> Shape:
    config = read_json(directory / "config.json")
    for key, accepted in (("model_type", ("gpt2",)), ("activation_function", ACTIVATIONS)):
        if config.get(key) not in accepted:
            raise InputError(
                f"{directory}/config.json: {key} is {config.get(key)!r}, "
                f"expected {' or '.join(map(repr, accepted))}"
            )
    missing = [key for key in SHAPE if not isinstance(config.get(key), int) or config[key] < 1]
    if missing:
        raise InputError(
            f"{directory}/config.json: {missing[0]} is {config.get(missing[0])!r}, "
            "expected a whole number above 0"
        )
    return Shape(*(config[key] for key in SHAPE))


def text_of(directory: str | Path) -> object:
    """The record of its text that a checkpoint was saved with; None without one."""
    path = Path(directory) / TEXT
    return read_json(path) if path.exists() else None


def external_size(directory: str | Path, context: int) -> ExternalSize:
    """The counts of a model from elsewhere, as recorded when it was adopted."""
    path = Path(directory) / SOURCE
    record = read_json(path)
    try:
        counts = (record["n_params"], record["n_params_non_embedding"], record["vocab_size"])
    except (KeyError, TypeError):
        raise InputError(
            f"{path}: is not what was written there; delete {directory} and run again"
        ) from None
    return ExternalSize(*counts[:2], context, counts[2])


def weights_digest(directory: str | Path) -> str:
    """A digest of the weights, one file or several; of what `write_digests` recorded, if it did."""
    directory = Path(directory)
    recorded = read_json(directory / DIGESTS) if (directory / DIGESTS).exists() else {}
    sums = {
        path.name: recorded.get(path.name) or sha256(path)
        for path in sorted(directory.glob("*.safetensors"))
    }
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()


def check_digests(directory: Path) -> None:
    """Nothing may have changed since the checkpoint was written; foreign ones carry no digests."""
    if not (directory / DIGESTS).exists():
        return
    for name, digest in read_json(directory / DIGESTS).items():
        path = directory / Path(name).name
        if not path.is_file() or sha256(path) != digest:
            raise InputError(
                f"{path}: is not what was written there (damaged, cut short or replaced); "
                f"delete {directory} and run again"
            )
