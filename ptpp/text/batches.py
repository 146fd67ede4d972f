"""Documents in groups, and a group as token ids: what a store and its parts are made of."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ptpp.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Document = str | np.ndarray  # a text, or its token ids, shape (tokens,)
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

    def encode(self, documents: Sequence[Document]) -> "Batch":
        """The ids of texts, or of documents that are ids, which must be of this vocabulary."""
        dtype = DTYPES[self.dtype]
        if _are_texts(documents):
            encoded = self.tokenizer.encode_batch_fast(documents, add_special_tokens=False)
            separated = (n for one in encoded for n in (*self.before, *one.ids, self.separator))
            ids = np.fromiter(separated, dtype=dtype)
        else:
            encoded = [self._bare(one) for one in documents]
            around = [np.array(each, dtype=dtype) for each in (self.before, [self.separator])]
            separated = [each for one in encoded for each in (around[0], one, around[1])]
            ids = np.concatenate(separated, dtype=dtype, casting="unsafe")
        ends = np.cumsum([len(self.before) + len(one) + 1 for one in encoded], dtype=np.int64)
        return Batch(ids, ends)

    def bytes_of(self, documents: Sequence[Document]) -> int:
        """UTF-8 bytes of the text of some documents."""
        if _are_texts(documents):
            return sum(len(text.encode("utf-8")) for text in documents)
        bare = [self._bare(one) for one in documents]
        if self._widths is not None:
            return sum(int(self._widths[one].sum()) for one in bare)
        return sum(len(text.encode("utf-8")) for text in map(self._decode, bare))

    def bytes_kept(self, document: Document, tokens: int, left: int) -> int:
        """UTF-8 bytes of a document of so many `tokens` with its separator, without the last
        `left` of them.
        """
        if left <= 1:
            return self.bytes_of([document])
        if left >= tokens - len(self.before):  # nothing but the token before the text
            return 0
        if isinstance(document, str):
            # Offsets cost time, so only this document is encoded with them.
            offsets = self.tokenizer.encode(document, add_special_tokens=False).offsets
            end = offsets[len(offsets) - left][1]
            return len(document[:end].encode("utf-8"))
        bare = self._bare(document)
        whole, head = self._decode(bare), self._decode(bare[: len(bare) + 1 - left])
        same = sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(whole, head, strict=False))
        )
        return len(whole[: same + (same < len(head))].encode("utf-8"))  # with the character cut

    def _bare(self, ids: np.ndarray) -> np.ndarray:
        """A document without the ids that are put around it."""
        ids = ids[1:] if len(ids) and ids[0] == self.beginning else ids
        return ids[:-1] if len(ids) and ids[-1] == self.separator else ids

    def _decode(self, ids: np.ndarray) -> str:
        return self.tokenizer.decode(ids.tolist(), skip_special_tokens=True)

    @cached_property
    def _widths(self) -> np.ndarray | None:
        """Bytes of every id, where a token is spelt with one character a byte, as GPT-2's are.

        None with other tokenizers: what their tokens stand for depends on those beside them.
        """
        if type(self.tokenizer.decoder).__name__ != "ByteLevel":
            return None
        vocabulary = self.tokenizer.get_vocab()
        widths = np.zeros(max(vocabulary.values()) + 1, dtype=np.int64)
        for token, number in vocabulary.items():
            widths[number] = len(token)
        for number, added in self.tokenizer.get_added_tokens_decoder().items():
            widths[number] = 0 if added.special else len(added.content.encode("utf-8"))
        return widths


def _are_texts(documents: Sequence[Document]) -> bool:
    return not documents or isinstance(documents[0], str)


def open_encoder(directory: str | Path, spec: Mapping) -> Encoder:
    """The encoder of a corpus by the tokenizer in `directory`.

    Raises InputError where the corpus is ids, `spec["source"]` "tokens", of another tokenizer: of
    one with another number of ids, or not the one that it names.
    """
    from ptpp.text.tokenizer import (
        beginning_id,
        check_same_tokenizer,
        load_tokenizer,
        separator_id,
        vocabulary_size,
    )

    if spec["source"] == "tokens":
        size = vocabulary_size(load_tokenizer(directory))
        if spec["vocab_size"] != size:
            raise InputError(
                f"{directory}: the experiment's tokenizer has {size} ids, the one of a corpus of "
                f"tokens {spec['vocab_size']} (vocab_size); they must be the same tokenizer"
            )
        if spec.get("tokenizer"):
            check_same_tokenizer(spec["tokenizer"], directory)
    return Encoder(load_tokenizer(directory), separator_id(directory), beginning_id(directory))


@dataclass(frozen=True)
class Batch:
    """The ids of some documents, shape (tokens,), and where each document ends, (documents,)."""

    ids: np.ndarray
    ends: np.ndarray


def batches(
    documents: Iterable[Document], exclude: Set[bytes]
) -> Iterator[tuple[list[Document], int]]:
    """Groups of documents that are not excluded, with the number that were.

    They depend on the documents alone, so that every part of a store finds the same ones.
    """
    batch: list[Document] = []
    characters = skipped = 0
    for document in documents:
        if exclude and document_hash(document) in exclude:
            skipped += 1
            continue
        batch.append(document)
        characters += len(document)
        if characters >= _CHARACTERS:
            yield batch, skipped
            batch, characters, skipped = [], 0, 0
    if batch or skipped:
        yield batch, skipped


def document_hash(document: Document) -> bytes:
    """128 bits that tell a document from others."""
    is_text = isinstance(document, str)
    content = document.encode("utf-8") if is_text else document.astype("<u4").tobytes()
    return hashlib.blake2b(content, digest_size=16).digest()
