"""A corpus spec leads to its text, and its digest says what that text is."""

import json
import re
from itertools import islice

import datasets
import pyarrow
import pytest
import yaml
from conftest import ROOT
from pyarrow import parquet

from ptpp.errors import InputError
from ptpp.text.sources import documents, source_digest


def write_jsonl(path, texts):
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(path)


@pytest.fixture
def jsonl_spec(tmp_path):
    return {
        "source": "jsonl",
        "train": [
            write_jsonl(tmp_path / "a.jsonl", ["a1", "a2"]),
            write_jsonl(tmp_path / "b.jsonl", ["b1"]),
        ],
        "valid": [write_jsonl(tmp_path / "v.jsonl", ["v1"])],
        "text": "text",
    }


@pytest.fixture(scope="module")
def hub_spec(tmp_path_factory):
    """A local directory that the datasets library loads as it would load a Hub repository."""
    folder = tmp_path_factory.mktemp("dataset")
    (folder / "train.jsonl").write_text(
        "".join(json.dumps({"body": f"document {i}", "other": i}) + "\n" for i in range(300))
    )
    return {
        "source": "huggingface",
        "id": str(folder),
        "train_split": "train",
        "text": "body",
        "shuffle_buffer": 50,
        "seed": 7,
        "valid_documents": 20,
    }


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test waits for a network; the setting itself is only read when the library loads."""
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    # The library rests five seconds after each shuffled Parquet stream; a moment is enough here.
    monkeypatch.setattr("datasets.config.SLEEP_TIME_ON_THREADS_SHUTDOWN", 0.1)


def test_jsonl_files_follow_each_other(jsonl_spec):
    assert list(documents(jsonl_spec, "train")) == ["a1", "a2", "b1"]
    assert list(documents(jsonl_spec, "valid")) == ["v1"]


def test_plain_text_files(tmp_path):
    (tmp_path / "t.txt").write_text("one\n\ntwo\n")
    (tmp_path / "v.txt").write_text("three\n")
    spec = {"source": "text", "train": [tmp_path / "t.txt"], "valid": [tmp_path / "v.txt"]}
    assert list(documents(spec, "train")) == ["one", "two"]
    assert list(documents(spec, "valid")) == ["three"]


def test_synthetic_text_never_ends_and_differs_between_splits():
    spec = {"source": "synthetic", "language": "english", "seed": 0}
    train, valid = (set(islice(documents(spec, split), 500)) for split in ("train", "valid"))
    assert len(train) == len(valid) == 500
    assert not train & valid


def test_a_dataset_is_streamed_shuffled_and_split_without_overlap(hub_spec):
    train, valid = list(documents(hub_spec, "train")), list(documents(hub_spec, "valid"))
    assert len(train) == 280 and len(valid) == 20
    assert set(train) | set(valid) == {f"document {i}" for i in range(300)}
    assert train != sorted(train, key=lambda text: int(text.split()[1]))
    assert train == list(documents(hub_spec, "train"))
    assert train != list(documents(hub_spec | {"seed": 8}, "train"))


def test_a_dataset_with_its_own_validation_split(hub_spec, tmp_path):
    for split, count in (("train", 30), ("validation", 5)):
        rows = pyarrow.table({"body": [f"{split} {i}" for i in range(count)]})
        parquet.write_table(rows, tmp_path / f"{split}.parquet")
    spec = hub_spec | {"id": str(tmp_path), "valid_split": "validation"}
    assert set(documents(spec, "valid")) == {f"validation {i}" for i in range(5)}
    assert set(documents(spec, "train")) == {f"train {i}" for i in range(30)}


def test_a_dataset_saved_to_disk(hub_spec, tmp_path):
    rows = datasets.Dataset.from_dict({"body": [f"saved {i}" for i in range(30)]})
    datasets.DatasetDict({"train": rows}).save_to_disk(tmp_path / "saved")
    spec = hub_spec | {"id": str(tmp_path / "saved"), "valid_documents": 3}
    texts = [set(documents(spec, split)) for split in ("train", "valid")]
    assert len(texts[0]) == 27 and len(texts[1]) == 3 and not texts[0] & texts[1]


def test_the_web_scale_reads_data_sets_like_those_it_names(tmp_path):
    """No network here: the columns and splits of FineWeb and FineWeb-2, saved on disk."""
    scale = yaml.safe_load((ROOT / "scales" / "laptop-web.yaml").read_text())
    for spec in scale["corpora"]["languages"]:
        assert re.fullmatch("[0-9a-f]{40}", spec["revision"]), "a branch changes"
        splits = {
            split: datasets.Dataset.from_dict(
                {
                    "text": [f"{spec['name']} {split} {i}" for i in range(1000)],
                    "id": [f"<urn:uuid:{i}>" for i in range(1000)],
                    "language_score": [0.9] * 1000,
                }
            )
            for split in ("train", *filter(None, [spec.get("valid_split")]))
        }
        saved = tmp_path / spec["name"]
        datasets.DatasetDict(splits).save_to_disk(saved)
        train, valid = (
            list(documents(spec | {"id": str(saved)}, split)) for split in ("train", "valid")
        )
        assert train and valid and not set(train) & set(valid)
        assert train[0] != f"{spec['name']} train 0", "not shuffled"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": "no/such-dataset"}, "dataset no/such-dataset"),
        ({"train_split": "nonesuch"}, "split nonesuch"),
        ({"text": "content"}, "column 'content'.*'body', 'other'"),
        ({"valid_documents": 0}, "valid_documents of at least 1"),
    ],
)
def test_what_a_dataset_cannot_give_is_told_in_one_line(hub_spec, change, told):
    with pytest.raises(InputError, match=told) as caught:
        next(documents(hub_spec | change, "train"))
    assert "\n" not in str(caught.value)


def test_the_digest_follows_content_not_names(jsonl_spec, tmp_path):
    before = source_digest(jsonl_spec)
    (tmp_path / "a.jsonl").rename(tmp_path / "renamed.jsonl")
    renamed = jsonl_spec | {"train": [str(tmp_path / "renamed.jsonl"), jsonl_spec["train"][1]]}
    assert source_digest(renamed) == before
    assert source_digest(renamed | {"train": renamed["train"][::-1]}) != before
    write_jsonl(tmp_path / "renamed.jsonl", ["a1", "other"])
    assert source_digest(renamed) != before


def test_the_digest_of_a_dataset_follows_its_files(hub_spec, tmp_path):
    (tmp_path / "train.jsonl").write_text('{"body": "a"}\n')
    spec = hub_spec | {"id": str(tmp_path)}
    before = source_digest(spec)
    (tmp_path / "train.jsonl").write_text('{"body": "b"}\n')
    assert source_digest(spec) != before


def test_the_digest_of_synthetic_text_follows_spec_and_generator(monkeypatch):
    spec = {"source": "synthetic", "language": "french", "seed": 0, "cognates": 0.3}
    before = source_digest(spec)
    assert source_digest(dict(reversed(spec.items()))) == before
    assert source_digest(spec | {"cognates": 0.4}) != before
    monkeypatch.setattr("ptpp.text.synthetic.documents.VERSION", -1)
    assert source_digest(spec) != before


def test_the_digest_of_a_missing_file_is_an_input_error(jsonl_spec):
    with pytest.raises(InputError, match="gone"):
        source_digest(jsonl_spec | {"valid": ["gone.jsonl"]})
