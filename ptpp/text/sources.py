"""Turn the specification of a corpus into a stream of documents."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from itertools import chain

from ptpp.errors import InputError
from ptpp.jobs import files
from ptpp.text import hub, readers
from ptpp.text.batches import Document
from ptpp.text.synthetic import documents as synthetic
from ptpp.text.tokenised import files_of, read_ids

SPLITS = ("train", "valid")


def documents(spec: Mapping, split: str) -> Iterator[Document]:
    """Stream the documents of one split ("train" or "valid") of a corpus.

    `spec["source"]` is one of
    - "synthetic": `language`, `seed`, `cognates` (French only); the stream never ends;
    - "jsonl": `train` and `valid` (lists of paths), `text` (key, default "text");
    - "text": `train` and `valid`; blank lines separate documents;
    - "huggingface": see `ptpp.text.hub.hub_documents`;
    - "tokens": `train` and `valid`, `vocab_size`, and what `ptpp.text.tokenised.read_ids` needs;
      documents are then arrays of ids, and texts with all other sources.

    Memory does not grow with the stream. Raises InputError for a missing or damaged file and a row
    without text; some of it only while the stream is read.
    """
    match spec["source"]:
        case "synthetic":
            return synthetic.generate(
                spec["language"], spec["seed"], split, spec.get("cognates", 0.0)
            )
        case "jsonl":
            field = spec.get("text", "text")
            return chain.from_iterable(readers.read_jsonl(path, field) for path in spec[split])
        case "text":
            return chain.from_iterable(readers.read_text(path) for path in spec[split])
        case "huggingface":
            return hub.hub_documents(spec, split)
        case _:
            return chain.from_iterable(read_ids(path, spec) for path in spec[split])


def source_digest(spec: Mapping) -> str:
    """SHA-256 (hexadecimal) of all that determines the text of a corpus.

    Files, and local directories of datasets, count by content and order, not by name. A Hub dataset
    counts by its spec alone: pin `revision` to fix its text. A synthetic corpus counts by its spec
    and the generator's version.
    """
    identity = dict(spec)
    match spec["source"]:
        case "synthetic":
            identity["generator"] = synthetic.VERSION
        case "jsonl" | "text" | "tokens":
            identity.pop("tokenizer", None)  # a check, not a source
            for split in SPLITS:
                identity[split] = [_file_digest(path) for path in files_of(spec[split])]
        case "huggingface":
            if content := hub.local_files(spec["id"]):
                identity["id"] = [_file_digest(path) for path in content]
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()


def _file_digest(path) -> str:
    try:
        return files.sha256(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
