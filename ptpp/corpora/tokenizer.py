"""One byte-level BPE vocabulary for all languages of an experiment."""

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ptpp import files
from ptpp.errors import InputError

SEPARATOR = "<|endoftext|>"
SEPARATOR_ID = 0
SMALLEST_VOCABULARY = 257  # every byte, and the separator


def train_tokenizer(
    streams: Mapping[str, Iterator[str]],
    vocab_size: int,
    bytes_per_language: int,
    directory: str | Path,
    threads: int = 1,
) -> str:
    """Train a byte-level BPE on equally many UTF-8 bytes of every language; returns its digest.

    streams: documents by language; each is read up to `bytes_per_language`, no further.
    vocab_size: tokens in all: the separator (id 0), the 256 bytes, and learnt merges.
    directory: receives tokenizer.json and tokenizer_config.json, as `AutoTokenizer` reads them.

    The same input gives the same files. Raises InputError when a stream is too short for its
    share, or when the text is too poor to fill the vocabulary.
    """
    if vocab_size < SMALLEST_VOCABULARY:
        raise InputError(f"vocab_size {vocab_size}: at least {SMALLEST_VOCABULARY} are needed")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[SEPARATOR],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    shares = (
        text
        for language, stream in streams.items()
        for text in _share(language, stream, bytes_per_language)
    )
    with tokenizer_threads(threads):
        tokenizer.train_from_iterator(shares, trainer)
    if tokenizer.get_vocab_size() != vocab_size:
        raise InputError(
            f"vocab_size {vocab_size}: {bytes_per_language} bytes per language give only "
            f"{tokenizer.get_vocab_size()} tokens; give more bytes or a smaller vocabulary"
        )
    with files.replacing_directory(directory) as temporary:
        tokenizer.save(str(temporary / "tokenizer.json"))
        # Written by hand so that corpora never wait for transformers to be imported.
        files.write_json(
            temporary / "tokenizer_config.json",
            {
                "tokenizer_class": "PreTrainedTokenizerFast",
                "bos_token": SEPARATOR,
                "eos_token": SEPARATOR,
                "unk_token": SEPARATOR,
                "clean_up_tokenization_spaces": False,
            },
        )
    return tokenizer_digest(directory)


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """Read `directory`/tokenizer.json; InputError when it is absent, damaged or not of our kind."""
    path = Path(directory) / "tokenizer.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"{path}: not a tokenizer ({error})") from None
    if tokenizer.token_to_id(SEPARATOR) != SEPARATOR_ID:
        raise InputError(f"{path}: expected the special token {SEPARATOR} with id {SEPARATOR_ID}")
    return tokenizer


def digest(tokenizer: Tokenizer) -> str:
    """SHA-256 (hexadecimal) of everything that decides how text becomes tokens."""
    return hashlib.sha256(tokenizer.to_str().encode("utf-8")).hexdigest()


def tokenizer_digest(directory: str | Path) -> str:
    """The digest of the tokenizer in `directory`."""
    return digest(load_tokenizer(directory))


@contextmanager
def tokenizer_threads(threads: int) -> Iterator[None]:
    """Hold the tokenizers library to `threads` cores inside the block.

    The library sizes its pool at the first parallel call of a process and keeps it: a later,
    larger number than that first one has no effect.
    """
    wanted = {
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _share(language: str, stream: Iterator[str], limit: int) -> Iterator[str]:
    """The head of a stream, cut at the last whole character within `limit` bytes."""
    left = limit
    for text in stream:
        encoded = text.encode("utf-8")
        if len(encoded) >= left:
            yield encoded[:left].decode("utf-8", errors="ignore")
            return
        yield text
        left -= len(encoded)
    raise InputError(
        f"language {language}: its text ends after {limit - left} bytes, the tokenizer asks for "
        f"{limit} per language; give more text or ask for fewer bytes"
    )
