"""Documents in groups, and a group as token ids: what a store and its parts are made of."""

import hashlib
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

DTYPES = {"uint16": np.dtype("<u2"), "uint32": np.dtype("<u4")}
_CHARACTERS = 1 << 19  # enough to keep the encoder busy, little enough to hold in memory


@dataclass(frozen=True)
class Encoder:
    """A tokenizer and the ids that stand around every document.

    separator, beginning: see `ptpp.text.store.write_store`.
    """

    tokenizer: "Tokenizer"
    separator: int = 0
    beginning: int | None = None

    def __post_init__(self) -> None:
        self.tokenizer.encode_special_tokens = True

    @property
    def before(self) -> tuple[int, ...]:
        """The same id is not written twice between documents."""
        return () if self.beginning in (None, self.separator) else (self.beginning,)

    @cached_property
    def dtype(self) -> str:
        """The smaller of two types that holds every id: a key of `DTYPES`."""
        from ptpp.text.tokenizer import vocabulary_size

        return "uint16" if vocabulary_size(self.tokenizer) <= 1 << 16 else "uint32"

    def encode(self, texts: list[str]) -> "Batch":
        encoded = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        ends = np.cumsum([len(self.before) + len(one) + 1 for one in encoded], dtype=np.int64)
        separated = (n for one in encoded for n in (*self.before, *one.ids, self.separator))
        return Batch(np.fromiter(separated, dtype=DTYPES[self.dtype]), ends)

    def bytes_kept(self, text: str, tokens: int, left: int) -> int:
        """UTF-8 bytes of a document of so many `tokens` with its separator, without the last
        `left` of them.
        """
        if left <= 1:
            return len(text.encode("utf-8"))
        if left >= tokens - len(self.before):  # nothing but the token before the text
            return 0
        # Offsets cost time, so only this document is encoded with them.
        offsets = self.tokenizer.encode(text, add_special_tokens=False).offsets
        end = offsets[len(offsets) - left][1]
        return len(text[:end].encode("utf-8"))


def open_encoder(directory: str | Path) -> Encoder:
    """The encoder by the tokenizer in `directory`."""
    from ptpp.text.tokenizer import beginning_id, load_tokenizer, separator_id

    return Encoder(load_tokenizer(directory), separator_id(directory), beginning_id(directory))


@dataclass(frozen=True)
class Batch:
    """The ids of some documents, shape (tokens,), and where each document ends, (documents,)."""

    ids: np.ndarray
    ends: np.ndarray


def batches(texts: Iterable[str], exclude: Set[bytes]) -> Iterator[tuple[list[str], int]]:
    """Groups of documents that are not excluded, with the number that were.

    They depend on the texts alone, so that every part of a store finds the same ones.
    """
    batch: list[str] = []
    characters = skipped = 0
    for text in texts:
        if exclude and document_hash(text) in exclude:
            skipped += 1
            continue
        batch.append(text)
        characters += len(text)
        if characters >= _CHARACTERS:
            yield batch, skipped
            batch, characters, skipped = [], 0, 0
    if batch or skipped:
        yield batch, skipped


def document_hash(text: str) -> bytes:
    """128 bits that tell a document from others."""
    return hashlib.blake2b(text.encode("utf-8"), digest_size=16).digest()
