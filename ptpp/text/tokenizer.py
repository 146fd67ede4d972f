"""One vocabulary for all languages of an experiment: trained here, or taken from a model."""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from ptpp.errors import InputError
from ptpp.jobs import files
from ptpp.jobs.job import set_environment
from ptpp.models.external import TOKENIZER_FILES, fetch_model, tokenizer_files

SEPARATOR = "<|endoftext|>"
_SAMPLES = (
    *("The year 1984, and 12345.67 km.", "Un été déjà vu, l'œuvre d'Ève.", "كتاب جديد", "新しい本"),
    *("  two spaces\tand a tab\n\nnew lines  ", "it's; can't\u00a0stop", "def f(x):\n    return x"),
)
# The parts of a tokenizer.json that turn text into ids, and what they hold.
_PARTS = {
    "model": "vocabulary or merges",
    "normalizer": "normaliser",
    "pre_tokenizer": "way to split words",
    "added_tokens": "set of added tokens",
}


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
    with files.atomic_directory(directory) as temporary:
        tokenizer.save(str(temporary / "tokenizer.json"))
        # Written by hand: importing transformers takes seconds.
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
    return digest(load_tokenizer(directory))


def adopt_tokenizer(
    model: str, revision: str | None, vocab_size: int, directory: str | Path
) -> str:
    """Copy the fast tokenizer of a Hugging Face directory or Hub id; returns its digest.

    vocab_size: the number of ids of the models; no less than those of the tokenizer.
    directory: receives tokenizer.json and tokenizer_config.json, as `AutoTokenizer` reads them.

    Raises InputError when there is no fast tokenizer, when it needs remote code, when it has more
    ids than `vocab_size`, when it has no token to separate documents, or when transformers reads
    its tokenizer.json as something else.
    """
    source = fetch_model(model, revision, ("config.json", *TOKENIZER_FILES))
    original = _load_fast_tokenizer(source)
    _check_raw_ids(source, original)
    with files.atomic_directory(directory) as temporary:
        original.save_pretrained(temporary / "all")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (temporary / "all" / name).rename(temporary / name)
        shutil.rmtree(temporary / "all")
        tokenizer = load_tokenizer(temporary)
        if vocabulary_size(tokenizer) > vocab_size:
            raise InputError(
                f"tokenizer.vocab_size: {vocab_size}, but the tokenizer of {model} has "
                f"{vocabulary_size(tokenizer)} ids; "
                "set it to that, or to what the models have if more"
            )
        separator = separator_id(temporary)
        tokenizer.encode_special_tokens = True
        spelt = tokenizer.id_to_token(separator)
        if separator in tokenizer.encode(spelt, add_special_tokens=False).ids:
            raise InputError(
                f"{model}: its tokenizer takes {spelt!r} in a text for the end of a document; "
                "accepted are tokenizers that can read it as ordinary text"
            )
    return digest(load_tokenizer(directory))


def _check_raw_ids(source: Path, original) -> None:
    """A folder that does not say which model it is of may be read as a tokenizer of another kind.

    Then transformers changes what its tokenizer.json does. Raises InputError where ids differ.
    """
    if (source / "config.json").is_file():
        return
    raw = load_tokenizer(source)
    for text in _SAMPLES:
        ids = original(text, add_special_tokens=False).input_ids
        if ids != raw.encode(text, add_special_tokens=False).ids:
            raise InputError(
                f"{source}: its tokenizer.json and {type(original).__name__}, by which "
                f"transformers reads it, give other ids for {text!r}; put the config.json of its "
                "model beside it"
            )


def check_same_tokenizer(checkpoint: str | Path, directory: str | Path) -> None:
    """Raise InputError when a checkpoint has another tokenizer than the one in `directory`.

    Those of its parts count that turn text into ids, not those that decode or add special tokens.
    A checkpoint without a tokenizer.json passes.
    """
    if not (Path(checkpoint) / "tokenizer.json").is_file():
        return
    theirs = json.loads(_load_fast_tokenizer(Path(checkpoint)).backend_tokenizer.to_str())
    ours = json.loads(load_tokenizer(directory).to_str())
    for part, name in _PARTS.items():
        if theirs[part] != ours[part]:
            raise InputError(
                f"{checkpoint}/tokenizer.json: its {name} ({part}) is not that of the experiment's "
                f"tokenizer ({directory}); losses per token would not compare"
            )


def _load_fast_tokenizer(directory: Path):
    """A fast tokenizer as transformers sees it, which may differ from its bare tokenizer.json."""
    tokenizer_files(directory)
    import transformers  # takes seconds, and most runs do not need it

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(
            directory, trust_remote_code=False, local_files_only=True
        )
    except Exception as error:  # a dozen kinds, none of them the library's own
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"{directory}: no tokenizer to be used ({reason})") from None
    if not tokenizer.is_fast:
        raise InputError(f"{directory}: {type(tokenizer).__name__} is slow; accepted are fast ones")
    return tokenizer


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """Read `directory`/tokenizer.json; InputError when it is absent or damaged.

    It neither truncates nor pads, whatever its file says.
    """
    path = Path(directory) / "tokenizer.json"
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise InputError(f"{path}: not a tokenizer ({error})") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def separator_id(directory: str | Path) -> int:
    """The id between documents: that of `eos_token`, else of `bos_token`.

    `directory`/tokenizer_config.json names them. Raises InputError when it names neither, or a
    token that is not in the vocabulary.
    """
    path = Path(directory) / "tokenizer_config.json"
    config = files.read_json(path)
    for key in ("eos_token", "bos_token"):
        token = config.get(key)
        token = token.get("content") if isinstance(token, dict) else token
        if token is not None:
            number = load_tokenizer(directory).token_to_id(token)
            if number is None:
                raise InputError(f"{path}: {key} {token!r} is not in the vocabulary")
            return number
    raise InputError(
        f"{path}: names no eos_token and no bos_token; one of them must separate documents"
    )


def beginning_id(directory: str | Path) -> int | None:
    """The id that the tokenizer puts before a text, where it does; its models expect it there.

    By its post-processor, or by `add_bos_token` of `directory`/tokenizer_config.json.
    """
    tokenizer = load_tokenizer(directory)
    plain, whole = (tokenizer.encode("a", add_special_tokens=add).ids for add in (False, True))
    if whole[: len(plain)] != plain:
        return whole[0]
    path = Path(directory) / "tokenizer_config.json"
    config = files.read_json(path) if path.exists() else {}
    token = config.get("bos_token") if config.get("add_bos_token") else None
    token = token.get("content") if isinstance(token, dict) else token
    return None if token is None else tokenizer.token_to_id(token)


def vocabulary_size(tokenizer: Tokenizer) -> int:
    """The number of ids a model needs: the largest of the vocabulary plus one."""
    return max(tokenizer.get_vocab().values()) + 1


def digest(tokenizer: Tokenizer) -> str:
    """SHA-256 (hexadecimal) of all that turns text into tokens."""
    return hashlib.sha256(tokenizer.to_str().encode("utf-8")).hexdigest()


def tokenizer_threads(threads: int) -> AbstractContextManager[None]:
    """Hold the tokenizers library to `threads` cores inside the block.

    The library sizes its pool at the first parallel call of a process and keeps it: a later,
    larger number than that first one has no effect.
    """
    parallel = "true" if threads > 1 else "false"
    return set_environment(RAYON_NUM_THREADS=str(threads), TOKENIZERS_PARALLELISM=parallel)


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
        f"language {language}: its text ends after {limit - left} bytes, the tokenizer needs "
        f"{limit} per language; give more text or ask for fewer bytes"
    )
