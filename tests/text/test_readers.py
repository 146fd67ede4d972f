"""Documents come out of files whole, in order, whatever the packing; bad files are named."""

import gzip
import json
import lzma

import pytest
import zstandard

from ptpp.errors import InputError
from ptpp.text.readers import read_jsonl, read_text

TEXTS = ["Été à la mer.", "كتاب جديد\nسطر ثان", "Plain \u2028 text"]
PACKERS = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress, ".zst": zstandard.compress}


def jsonl(texts, key="text") -> bytes:
    return "".join(json.dumps({"id": 1, key: text}) + "\n" for text in texts).encode()


@pytest.mark.parametrize("suffix", PACKERS)
def test_jsonl_is_read_from_every_packing(tmp_path, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(PACKERS[suffix](jsonl(TEXTS)))
    assert list(read_jsonl(path)) == TEXTS


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_concatenated_packings_are_read_to_the_end(tmp_path, suffix):
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(b"".join(PACKERS[suffix](jsonl([text])) for text in TEXTS))
    assert list(read_jsonl(path)) == TEXTS


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
@pytest.mark.parametrize("kept", [0.5, 0.99])
def test_a_cut_packed_file_is_refused_not_shortened(tmp_path, suffix, kept):
    path = tmp_path / f"a.jsonl{suffix}"
    packed = PACKERS[suffix](jsonl([f"{text} {i**7}" for i in range(9000) for text in TEXTS]))
    path.write_bytes(packed[: int(len(packed) * kept)])
    with pytest.raises(InputError, match="cannot be read"):
        list(read_jsonl(path))


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_file_that_is_not_what_its_suffix_says_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(b"not packed at all")
    with pytest.raises(InputError, match="cannot be read"):
        list(read_text(path))


def test_the_text_may_stand_under_another_key(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl(TEXTS, key="content"))
    assert list(read_jsonl(path, "content")) == TEXTS
    with pytest.raises(InputError, match="line 1: expected an object with a string 'text'"):
        list(read_jsonl(path))


def test_blank_lines_and_blank_texts_are_passed_over(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": "  "}\n{"text": "b"}\n')
    assert list(read_jsonl(path)) == ["a", "b"]


@pytest.mark.parametrize("row", ["{", "[1]", '{"text": 3}', '{"text": null}', '"a"'])
def test_a_bad_row_is_named_by_its_line(tmp_path, row):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "fine"}\n' + row + "\n")
    with pytest.raises(InputError, match=r"a\.jsonl, line 2"):
        list(read_jsonl(path))


def test_half_a_surrogate_pair_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "\\ud83d"}\n')
    with pytest.raises(InputError, match="surrogate"):
        list(read_jsonl(path))


def test_plain_text_documents_are_separated_by_blank_lines(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n\none\ntwo\n\n  \nthree\r\n\r\nfour")
    assert list(read_text(path)) == ["one\ntwo", "three", "four"]


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("one", encoding="utf-8-sig")
    assert list(read_text(path)) == ["one"]


def test_other_encodings_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes("été".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin\.txt: cannot be read as UTF-8"):
        list(read_text(path))
    with pytest.raises(InputError, match=r"absent\.txt: no such file"):
        list(read_text(tmp_path / "absent.txt"))
