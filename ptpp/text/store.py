"""Token stores: one flat array of token ids per language and split, with a JSON sidecar."""

import hashlib
import json
import math
from collections.abc import Iterable, Set
from dataclasses import asdict, dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ptpp.errors import InputError
from ptpp.jobs import files
from ptpp.text.batches import DTYPES, Document, Encoder, batches, document_hash

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from ptpp.text.parts import Parts


@dataclass(frozen=True)
class StoreInfo:
    """The content of the sidecar.

    tokens: all ids in the array, one separator after every whole document included.
    bytes: UTF-8 bytes of the text those tokens stand for, to the end of the character in which a
    document was cut; separators count as none.
    documents: documents begun; the last may be truncated.
    excluded: documents left out because the other split has them.
    tokenizer, source: SHA-256 digests; separator: the id after every document; beginning: the one
    before it and at the start of a block, null where the tokenizer asks for none.
    dtype: "uint16" or "uint32", little-endian.
    content: digest of the array (`files.content_digest`) and of the fields above, which reveals a
    changed store.
    """

    tokens: int
    bytes: int
    documents: int
    excluded: int
    tokenizer: str
    source: str
    separator: int
    beginning: int | None
    dtype: str
    content: str


@dataclass(frozen=True)
class Store:
    """An open token store; `tokens` is a read-only memory map of shape (info.tokens,)."""

    tokens: np.ndarray
    info: StoreInfo


def write_store(
    documents: Iterable[Document],
    tokenizer: "Tokenizer",
    path: str | Path,
    max_tokens: int | None,
    source: str,
    exclude: Set[bytes] = frozenset(),
    threads: int = 1,
    separator: int = 0,
    beginning: int | None = None,
    parts: "Parts | None" = None,
) -> StoreInfo:
    """Encode documents into `path` and its sidecar, until they or `max_tokens` end.

    documents: texts, or the ids of texts by the same tokenizer.

    exclude: hashes (`document_hashes`) of documents to leave out, i.e. of the other split.
    source: digest of the corpus (`source_digest`), kept in the sidecar.
    separator, beginning: the ids written after and before every document, by `separator_id` and
    `beginning_id` of `ptpp.text.tokenizer`. The same id is not written twice between documents.
    parts: groups of documents that other jobs have encoded (`ptpp.text.parts`); the store is the
    same to the byte with and without.

    Special tokens spelt out in a document ("<|endoftext|>") are encoded as ordinary text, so
    separators stand between documents only. Raises InputError when there is no token to write.
    """
    from ptpp.text.tokenizer import digest, tokenizer_threads

    encoder = Encoder(tokenizer, separator, beginning)
    limit = math.inf if max_tokens is None else max_tokens
    tokens = size = count = excluded = 0
    with tokenizer_threads(threads), files.atomic_file(path) as temporary:
        with open(temporary, "wb") as stream:
            for number, (group, skipped) in enumerate(batches(documents, exclude)):
                excluded += skipped
                ready = parts.batch(number, len(group)) if parts else None
                batch = ready or encoder.encode(group)
                kept = batch.ids[: min(len(batch.ids), limit - tokens)]
                stream.write(kept.tobytes())
                begun = int(np.searchsorted(batch.ends, len(kept))) + 1 if len(kept) else 0
                if begun:
                    size += encoder.bytes_of(group[: begun - 1])
                    left = int(batch.ends[begun - 1]) - len(kept)  # of the last, cut off
                    of_last = int(np.diff(batch.ends, prepend=0)[begun - 1])
                    size += encoder.bytes_kept(group[begun - 1], of_last, left)
                count += begun
                tokens += len(kept)
                if tokens >= limit:
                    break
        if not tokens:
            raise InputError(f"{path}: the corpus holds no text ({excluded} documents excluded)")
        _sidecar(path).unlink(missing_ok=True)  # no old sidecar beside a new array
    made_by = (digest(tokenizer), source, separator, beginning)
    info = StoreInfo(tokens, size, count, excluded, *made_by, encoder.dtype, "")
    info = replace(info, content=_content(path, info))
    files.write_json(_sidecar(path), asdict(info))
    return info


def open_store(path: str | Path) -> Store:
    """Map a store; InputError when array and sidecar are missing, damaged or disagree."""
    sidecar = _sidecar(path)
    record = files.read_json(sidecar)
    names = {field.name for field in fields(StoreInfo)}
    if not isinstance(record, dict) or set(record) != names:
        raise InputError(f"{sidecar}: expected exactly the keys {', '.join(sorted(names))}")
    info = StoreInfo(**record)
    if info.dtype not in DTYPES:
        raise InputError(f"{sidecar}: dtype {info.dtype!r}, expected one of {', '.join(DTYPES)}")
    dtype = DTYPES[info.dtype]
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file")
    size, expected = Path(path).stat().st_size, info.tokens * dtype.itemsize
    if size != expected:
        raise InputError(f"{path}: {size} bytes, but {sidecar.name} promises {expected}")
    if _content(path, info) != info.content:
        raise InputError(
            f"{path}: changed since it was written (its digest, which covers {sidecar.name} too, "
            "is another); delete both and run again"
        )
    return Store(np.memmap(path, dtype=dtype, mode="r"), info)


def bytes_per_token(info: StoreInfo) -> float:
    """Mean UTF-8 bytes of text per token, separators included in the tokens."""
    return info.bytes / info.tokens


def document_hashes(documents: Iterable[Document]) -> set[bytes]:
    """128-bit hashes of documents; `write_store` keeps two splits apart by them."""
    return {document_hash(one) for one in documents}


def held_out_documents(documents: Iterable[Document], valid: str | Path | None) -> set[bytes]:
    """Hashes of the documents in the validation store `valid`, which `documents` begins with."""
    if not valid:
        return set()
    return document_hashes(islice(documents, open_store(valid).info.documents))


def _content(path: str | Path, info: StoreInfo) -> str:
    record = json.dumps(asdict(replace(info, content=files.content_digest(path))))
    return hashlib.sha256(record.encode()).hexdigest()


def _sidecar(path: str | Path) -> Path:
    return Path(path).with_suffix(".json")
