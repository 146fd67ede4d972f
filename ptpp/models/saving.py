"""Saving an adapted model as a Hugging Face directory, be it a GPT-2 of ours or from elsewhere."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ptpp.jobs.files import atomic_directory
from ptpp.models.backend import Backend
from ptpp.models.checkpoint import complete

if TYPE_CHECKING:
    from ptpp.models.huggingface import Module


def save_adapted(
    backend: Backend, directory: str | Path, tokenizer: str | Path, text: Mapping
) -> None:
    """Write weights (safetensors), configuration, tokenizer and digests, all or nothing.

    text: as for `save_checkpoint`. A collective call: all processes of a group make it.
    """
    if backend.shape is not None:
        backend.save(directory, tokenizer, text)
    else:
        _save_module(backend, directory, tokenizer, text)


def _save_module(
    backend: "Module", directory: str | Path, tokenizer: str | Path, text: Mapping
) -> None:
    """The same of a model from elsewhere, under the names that transformers gives its tensors."""
    module = backend.module
    kept = module.state_dict().keys() & dict(module.named_buffers()).keys()
    tensors = {name: each for name, each in module.named_buffers() if name in kept}
    tensors |= {name: each.detach() for name, each in module.named_parameters()}
    tensors = backend.whole(tensors)
    if backend.group.is_main:
        with atomic_directory(directory) as temporary:
            module.save_pretrained(temporary, state_dict=tensors)
            complete(temporary, tokenizer, text)
    backend.group.wait()
