"""Text that is tokenised already gives the store that its text gives, and bad files are named."""

import struct
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from texts import some_texts, train_small

from ptpp.errors import InputError
from ptpp.text.batches import Encoder, open_encoder
from ptpp.text.parts import Parts, write_part
from ptpp.text.sources import documents, source_digest
from ptpp.text.store import document_hashes, held_out_documents, open_store, write_store
from ptpp.text.tokenised import read_ids
from ptpp.text.tokenizer import load_tokenizer, vocabulary_size

TEXTS = [*islice(some_texts(), 9), "Un été 😀 où 中 文 déjà.", "fin"]
CODES = {"uint8": 1, "int16": 3, "int32": 4, "int64": 5, "uint16": 8}


def write_megatron(path, pieces, dtype="int32", version=1, code=None):
    """An index and its ids: documents of one sequence each, as Megatron-LM writes them."""
    lengths = [len(piece) for piece in pieces]
    begins = np.cumsum([0, *lengths[:-1]]) * np.dtype(dtype).itemsize
    head = struct.pack("<9sQB", b"MMIDIDX\0\0", version, CODES[dtype] if code is None else code)
    head += struct.pack("<QQ", len(lengths), len(lengths) + 1)
    arrays = [np.array(lengths, "<i4"), begins.astype("<i8"), np.arange(len(lengths) + 1)]
    path.write_bytes(head + b"".join(array.tobytes() for array in arrays))
    np.concatenate(pieces).astype(dtype).tofile(path.with_suffix(".bin"))


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    return train_small(tmp_path_factory.mktemp("tokenizer") / "vocab")


@pytest.fixture(params=["ours", "llama"])
def directory(request, ours, llama_directory):
    return ours if request.param == "ours" else llama_directory


@pytest.fixture
def spec(directory):
    encoder = open_encoder(directory, {"source": "text"})
    size = vocabulary_size(encoder.tokenizer)
    return {"source": "tokens", "vocab_size": size, "separator": encoder.separator}


def write_ids(folder, encoder, form, texts=TEXTS):
    """The texts' ids in one of the forms that other people have."""
    ids = [one.ids for one in encoder.tokenizer.encode_batch(texts, add_special_tokens=False)]
    bare = [np.array(one) for one in ids]
    ended = [np.append(one, encoder.separator) for one in bare]
    begun = [np.append(encoder.separator, one) for one in bare]
    whole = [np.append(encoder.beginning, one) for one in ended] if encoder.beginning else ended
    flat, path = np.concatenate(ended), folder / form.split()[0]
    match form:
        case "a.npy":
            np.save(path, flat.astype("uint16"))
        case "big.npy of big-endian int64":
            np.save(path, flat.astype(">i8"))
        case "begun.npy with separators in front":
            np.save(path, np.concatenate(begun).astype("int32"))
        case "a.bin":
            flat.astype("<u2").tofile(path)
        case "a.idx":
            write_megatron(path, bare, "uint16")
        case "ended.idx with separators":
            write_megatron(path, ended)
        case "whole.idx with all that stands around a text":
            write_megatron(path, whole, "int64")
    return path


FORMS = [
    *("a.npy", "big.npy of big-endian int64", "begun.npy with separators in front", "a.bin"),
    *("a.idx", "ended.idx with separators", "whole.idx with all that stands around a text"),
]


@pytest.mark.parametrize("form", FORMS)
def test_the_store_is_that_of_the_text(directory, spec, form, tmp_path):
    encoder = open_encoder(directory, spec)
    path = write_ids(tmp_path, encoder, form)
    spec |= {"train": [path], "valid": [path], "dtype": "uint16"}
    around = {"separator": encoder.separator, "beginning": encoder.beginning}
    for limit in (None, 50):
        stores = [
            write_store(each, encoder.tokenizer, tmp_path / name, limit, "", **around)
            for each, name in ((TEXTS, "text.bin"), (documents(spec, "train"), "ids.bin"))
        ]
        assert stores[0] == stores[1]
        assert (tmp_path / "text.bin").read_bytes() == (tmp_path / "ids.bin").read_bytes()


def test_bytes_of_a_document_cut_anywhere_are_those_of_its_text(directory, spec):
    encoder, text = open_encoder(directory, spec), TEXTS[-2]
    ids = np.array(encoder.tokenizer.encode(text, add_special_tokens=False).ids)
    tokens = len(encoder.before) + len(ids) + 1
    for left in range(tokens):
        kept = [encoder.bytes_kept(document, tokens, left) for document in (text, ids)]
        if directory.name == "vocab":
            assert kept[0] == kept[1]
        else:  # a space is part of the token behind it, and ids alone do not tell it
            assert abs(kept[0] - kept[1]) <= 1


def test_held_out_documents_are_left_out(directory, spec, tmp_path):
    encoder = open_encoder(directory, spec)
    (tmp_path / "v").mkdir()
    spec |= {"train": [write_ids(tmp_path, encoder, "a.npy")]}
    spec |= {"valid": [write_ids(tmp_path / "v", encoder, "a.idx", TEXTS[3:6])]}
    around = {"separator": encoder.separator, "beginning": encoder.beginning}
    valid = tmp_path / "valid.bin"
    write_store(documents(spec, "valid"), encoder.tokenizer, valid, None, "", **around)
    held_out = held_out_documents(documents(spec, "valid"), valid)
    args = (encoder.tokenizer, tmp_path / "ids.bin", None, "")
    info = write_store(documents(spec, "train"), *args, held_out, **around)
    same = write_store(
        TEXTS, args[0], tmp_path / "text.bin", None, "", document_hashes(TEXTS[3:6]), **around
    )
    assert info == same and info.excluded == 3
    folders = [tmp_path / "0", tmp_path / "1"]
    for k, folder in enumerate(folders):
        write_part(documents(spec, "train"), encoder, folder, (k, 2), 10**6, "", held_out)
    with Parts(folders, encoder, "", held_out) as parts:
        joined = write_store(documents(spec, "train"), *args, held_out, **around, parts=parts)
    assert joined == info


def test_ids_of_a_large_vocabulary_stay_whole(tmp_path):
    from tokenizers import Tokenizer, models

    words = {"<|endoftext|>": 0} | {f"w{i}": i for i in range(1, 70_000)}
    large = Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>"))
    np.save(tmp_path / "a.npy", np.array([69_999, 5, 0, 7, 0]))
    texts = read_ids(tmp_path / "a.npy", {"vocab_size": 70_000, "separator": 0})
    info = write_store(texts, large, tmp_path / "a.bin", None, "")
    assert open_store(tmp_path / "a.bin").tokens.tolist() == [69_999, 5, 0, 7, 0]
    assert info.bytes == len("w69999 w5") + len("w7")


def test_documents_are_found_across_the_pieces_of_a_large_file(tmp_path, monkeypatch):
    monkeypatch.setattr("ptpp.text.tokenised._CHUNK", 3)
    np.save(tmp_path / "a.npy", np.array([1, 0, 0, 2, 3, 4, 5, 0, 6]))
    got = read_ids(tmp_path / "a.npy", {"vocab_size": 10, "separator": 0})
    assert [document.tolist() for document in got] == [[1], [2, 3, 4, 5], [6]]


def damage_index(change):
    def write(path):
        write_megatron(path, [np.arange(5), np.arange(3)])
        path.write_bytes(change(path.read_bytes()))

    return write


def replaced(place, piece):
    return lambda content: content[:place] + piece + content[place + len(piece) :]


def save(array, **options):
    return lambda path: np.save(path, array, **options)


def cut(write, left):
    def write_less(path):
        write(path)
        data = path.with_suffix(".bin") if path.suffix == ".idx" else path
        data.write_bytes(data.read_bytes()[:left])

    return write_less


FINE = np.array([1, 2, 0], "uint16")
BAD = [
    ("a.npy", save(np.array([1, None, 0]), allow_pickle=True), "not an array of ids.*objects"),
    ("a.npy", save(np.array([1.5, 0])), r"shape \(2,\) of float64; accepted are ids"),
    ("a.npy", save(np.zeros((2, 2), int)), r"shape \(2, 2\) of int64; accepted"),
    ("a.npy", save(np.array([7, 8])), "the separator 0 is nowhere in it"),
    ("a.npy", save(np.array([], int)), "the separator 0 is nowhere in it"),
    ("a.npy", save(np.array([1, 400, 0])), "id 400 at place 1; accepted are 0 to 399"),
    ("a.npy", save(np.array([1, 0, 3, -1, 0])), "id -1 at place 3; accepted are 0 to 399"),
    ("a.npy", cut(save(FINE), -1), "not an array of ids.*greater than file size"),
    ("a.npy", cut(save(FINE), 60), "not an array of ids.*EOF"),
    ("a.npy", lambda path: path.write_bytes(b"PK\3\4 and so on"), "not an array.*magic string"),
    ("a.npy", lambda path: path.write_bytes(b""), "not an array of ids"),
    ("a.npy", lambda path: None, "not an array of ids.*No such file"),
    ("a.bin", lambda path: path.write_bytes(b"123"), "3 bytes are no whole number of uint16"),
    ("a.bin", lambda path: path.write_bytes(b""), "the separator 0 is nowhere in it"),
    ("a.bin", lambda path: path.write_bytes(b"\x93NUMPY\1\0"), "its header; name it .npy"),
    ("a.bin", lambda path: path.write_bytes(b"\xff\xff\0\0"), "id 65535 at place 0"),
    ("a.bin", lambda path: None, "cannot be read.*No such file"),
    ("a.idx", damage_index(replaced(0, b"TNTIDX")), "begins with .*TNTIDX.*; accepted is Megatr"),
    ("a.idx", damage_index(lambda content: b""), "begins with b''; accepted"),
    ("a.idx", damage_index(lambda content: content[:20]), "20 bytes, less than its header has"),
    ("a.idx", damage_index(replaced(9, b"\2")), "version 2; accepted is 1"),
    (
        "a.idx",
        damage_index(replaced(17, b"\7")),
        r"code 7 for the type of ids; accepted: 1 \(uint8",
    ),
    ("a.idx", damage_index(replaced(18, b"\xff" * 8)), "82 bytes, but its header promises"),
    ("a.idx", damage_index(lambda content: content[:-1]), "81 bytes, but its header promises 82"),
    ("a.idx", damage_index(replaced(34, b"\6")), "documents do not follow one another"),
    ("a.idx", damage_index(replaced(66, b"\3")), "documents do not follow one another"),
    ("a.idx", cut(damage_index(bytes), -4), r"a\.bin: 28 bytes, but a\.idx promises 32"),
    ("a.idx", lambda path: write_megatron(path, [np.array([400])]), "id 400 at place 0"),
]


@pytest.mark.parametrize(("name", "write", "told"), BAD)
def test_a_bad_file_is_told_in_one_line(name, write, told, tmp_path):
    write(tmp_path / name)
    spec = {"vocab_size": 400, "separator": 0, "dtype": "uint16"}
    with pytest.raises(InputError, match=rf"{tmp_path}/a\.\w+: .*{told}|{told}") as caught:
        list(read_ids(tmp_path / name, spec))
    assert "\n" not in str(caught.value) and str(tmp_path / "a.") in str(caught.value)


def test_an_index_without_its_ids_is_told(tmp_path):
    write_megatron(tmp_path / "a.idx", [np.arange(5)])
    (tmp_path / "a.bin").unlink()
    with pytest.raises(InputError, match=r"a\.bin: no such file"):
        list(read_ids(tmp_path / "a.idx", {"vocab_size": 400}))


def test_damaged_bytes_end_in_one_line_or_in_ids(tmp_path):
    """No byte of a header, changed, leads to anything but an error of ours or ids in range."""
    spec, random = {"vocab_size": 400, "separator": 0}, np.random.default_rng(0)
    write_megatron(tmp_path / "a.idx", [np.arange(5), np.arange(3)])
    np.save(tmp_path / "a.npy", np.array([3, 0, 5]))
    for name in ("a.idx", "a.npy"):
        content = (tmp_path / name).read_bytes()
        for place in range(len(content) if name == "a.idx" else 128):
            changed = replaced(place, random.bytes(1))(content)
            (tmp_path / name).write_bytes(changed)
            try:
                got = list(read_ids(tmp_path / name, spec))
            except InputError:
                continue
            assert all(((ids >= 0) & (ids < 400)).all() for ids in got)


def test_ids_of_another_tokenizer_are_refused(ours, llama_directory):
    spec = {"source": "tokens", "vocab_size": 400}
    assert open_encoder(ours, spec).separator == 0
    with pytest.raises(InputError, match=r"tokenizer has 400 ids, .*tokens 50257 \(vocab_size\)"):
        open_encoder(ours, spec | {"vocab_size": 50_257})
    open_encoder(ours, spec | {"tokenizer": str(ours)})
    with pytest.raises(InputError, match="is not that of the experiment's tokenizer"):
        open_encoder(ours, spec | {"tokenizer": str(llama_directory)})


def test_the_digest_follows_the_ids_and_not_the_names(ours, tmp_path):
    write_megatron(tmp_path / "a.idx", [np.arange(5), np.arange(3)])
    spec = {"source": "tokens", "vocab_size": 400, "train": ["a.idx"], "valid": ["a.idx"]}
    spec |= {split: [str(tmp_path / "a.idx")] for split in ("train", "valid")}
    before = source_digest(spec)
    assert source_digest(spec | {"tokenizer": str(ours)}) == before
    write_megatron(tmp_path / "a.idx", [np.arange(5), np.arange(1, 4)])
    assert source_digest(spec) != before, "the index is the same, the ids are not"


def test_bytes_of_ids_are_those_of_their_text_by_either_way(ours):
    encoder = Encoder(load_tokenizer(ours))
    ids = [np.array(one.ids) for one in encoder.tokenizer.encode_batch(TEXTS)]
    assert encoder.bytes_of(ids) == encoder.bytes_of(TEXTS)
    slow = replace(encoder)
    slow.__dict__["_widths"] = None
    assert slow.bytes_of(ids) == encoder.bytes_of(TEXTS)
