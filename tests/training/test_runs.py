"""Pre-training stages and CPT trajectories on small stores: what they write, warn of and refuse."""

import csv
import logging
import shutil
from itertools import islice

import pytest
from ptpp.training.runs import Run, pick_device, settings_for
from ptpp.training.text import Text

from ptpp.errors import InputError
from ptpp.text.store import write_store
from ptpp.text.synthetic.documents import generate
from ptpp.text.tokenizer import load_tokenizer, train_tokenizer
from ptpp.training.adaptation import adapt
from ptpp.training.engine import Diverged
from ptpp.training.pretraining import pretrain_stage

LANGUAGES = {"en": "english", "ar": "arabic", "fr": "french"}
SIZE = {"name": "w8", "width": 8, "depth": 1, "heads": 1, "batch_tokens": 128}
SPEC = {"size": SIZE, "seed": 0, "context": 32, "vocab_size": 300, "count": "total"}
OPTIMISER = {
    "schedule": "wsd",
    "decay_fraction": 0.2,
    "warmup": 0.2,
    "learning_rate": 0.01,
    "base_width": 8,
    "weight_decay": 0.1,
    "betas": [0.9, 0.95],
    "clip": 1.0,
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stores")
    train_tokenizer(
        {name: generate(language, 0, "train") for name, language in LANGUAGES.items()},
        300,
        20_000,
        folder / "tokenizer",
    )
    tokenizer = load_tokenizer(folder / "tokenizer")
    for name, language in LANGUAGES.items():
        for split, tokens in (("train", 4_000), ("valid", 1_000)):
            texts = islice(generate(language, 0, split), 100)
            write_store(texts, tokenizer, folder / f"{name}.{split}.bin", tokens, "test")
    return folder


@pytest.fixture
def text(stores):
    def paths(split):
        return [stores / f"{name}.{split}.bin" for name in LANGUAGES]

    return Text.open(paths("train"), paths("valid"), "fr", {"en": 0.5, "ar": 0.5}, 512)


def run(**changes):
    return Run.of("w8", {**SPEC, "device": "cpu", **changes}, code="")


def pretrained(folder, text, stores, ptpp=2.0, previous=None, **optimiser):
    out = {
        "checkpoint": folder / f"ptpp{ptpp:g}",
        "trunk": folder / f"{ptpp:g}.safetensors",
        "zero_shot": folder / f"{ptpp:g}.zero_shot.csv",
        "curve": folder / f"{ptpp:g}.curve.csv",
        "cost": folder / f"{ptpp:g}.cost.csv",
        "state": folder / ".state",
        "finished": folder / f"finished.{ptpp:g}",
    }
    settings = settings_for(OPTIMISER | optimiser, run(), 128)
    pretrain_stage(run(), ptpp, settings, text, previous, stores / "tokenizer", **out)
    return out


def adapted(folder, text, base, *replays, atpp=(0.5, 1.0), **optimiser):
    out = folder / "adapted.csv"
    settings = settings_for(OPTIMISER | optimiser, run(), 128)
    adapt(
        run(), 2.0, replays or (0.5,), list(atpp), settings, text,
        checkpoint=base["checkpoint"], zero_shot=base["zero_shot"], observations=out,
        costs=folder / "costs.csv", state=folder / ".state", finished=folder / "finished",
    )  # fmt: skip
    return rows(out)


def rows(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_stage_leaves_checkpoint_trunk_zero_shot_losses_and_curve(tmp_path, text, stores):
    out = pretrained(tmp_path, text, stores)
    losses = {row["domain"]: float(row["loss"]) for row in rows(out["zero_shot"])}
    assert set(losses) == {"en", "ar", "fr"}
    assert max(losses["en"], losses["ar"]) < losses["fr"], "French was never read"
    assert (out["checkpoint"] / "model.safetensors").exists()
    assert (out["checkpoint"] / "tokenizer.json").exists()
    assert out["trunk"].exists()
    assert not out["state"].exists()


def test_stages_on_one_trunk_equal_one_long_run_for_the_later_checkpoint(tmp_path, text, stores):
    (tmp_path / "two").mkdir()
    (tmp_path / "one").mkdir()
    first = pretrained(tmp_path / "two", text, stores, 1.0)
    second = pretrained(tmp_path / "two", text, stores, 3.0, previous=first["trunk"])
    alone = pretrained(tmp_path / "one", text, stores, 3.0)
    assert [r["loss"] for r in rows(second["zero_shot"])] == [
        r["loss"] for r in rows(alone["zero_shot"])
    ]
    assert rows(second["curve"])[0] == rows(first["curve"])[0], "the curve is the whole trunk's"


def test_independent_schedules_train_each_stage_by_itself(tmp_path, text, stores):
    first = pretrained(tmp_path, text, stores, 1.0, schedule="independent")
    second = pretrained(
        tmp_path, text, stores, 2.0, previous=first["trunk"], schedule="independent"
    )
    for out in (first, second):
        assert rows(out["curve"])
    (tmp_path / "alone").mkdir()
    alone = pretrained(tmp_path / "alone", text, stores, 2.0, schedule="independent")
    assert [r["loss"] for r in rows(second["zero_shot"])] == [
        r["loss"] for r in rows(alone["zero_shot"])
    ]


def test_a_trajectory_measures_every_budget_on_every_domain(tmp_path, text, stores):
    table = adapted(tmp_path, text, pretrained(tmp_path, text, stores))
    assert {(float(r["atpp"]), r["domain"]) for r in table} == {
        (a, d) for a in (0.5, 1.0) for d in ("en", "ar", "fr")
    }
    n = run().n_params
    for row in table:
        tokens = int(row["adapt_tokens"])
        assert abs(tokens - float(row["atpp"]) * n) <= 32
        assert float(row["flops"]) == 6 * n * tokens
        assert float(row["loss"]) > 0 and float(row["bits_per_byte"]) > 0


def test_a_finished_stage_is_put_back_when_its_outputs_were_deleted(tmp_path, text, stores, caplog):
    out = pretrained(tmp_path, text, stores)
    names = ("trunk", "zero_shot", "curve", "cost")
    before = {name: out[name].read_bytes() for name in names}
    weights = (out["checkpoint"] / "model.safetensors").read_bytes()
    for name in names:
        out[name].unlink()
    shutil.rmtree(out["checkpoint"])
    with caplog.at_level(logging.INFO, logger="ptpp"):
        pretrained(tmp_path, text, stores)
    assert "w8 pre-training to PTPP 2: trained before" in caplog.text
    assert {name: out[name].read_bytes() for name in names} == before
    assert (out["checkpoint"] / "model.safetensors").read_bytes() == weights
    assert not list(tmp_path.glob(".*.????????*")), "nothing half-written is left"


def test_what_was_finished_otherwise_or_is_damaged_is_trained(tmp_path, text, stores, caplog):
    out = pretrained(tmp_path, text, stores)
    trunk = out["trunk"].read_bytes()
    with caplog.at_level(logging.INFO, logger="ptpp"):
        pretrained(tmp_path, text, stores, weight_decay=0.5)
    assert out["trunk"].read_bytes() != trunk
    kept = out["finished"] / "trunk"
    kept.write_bytes(kept.read_bytes()[:-1] + b"x")
    with caplog.at_level(logging.INFO, logger="ptpp"):
        pretrained(tmp_path, text, stores, weight_decay=0.5)
    assert "trained before" not in caplog.text
    assert "damaged" in caplog.text and "trained again" in caplog.text


def test_one_process_or_one_for_each_replay_ratio_measure_the_same(tmp_path, text, stores):
    base = pretrained(tmp_path, text, stores)
    together = adapted(tmp_path, text, base, 0.0, 0.5, 1.0)
    for folder in ("a", "b", "c"):
        (tmp_path / folder).mkdir()
    alone = adapted(tmp_path / "a", text, base, 0.0)
    alone += adapted(tmp_path / "b", text, base, 0.5) + adapted(tmp_path / "c", text, base, 1.0)
    assert together == alone


def test_a_longer_list_of_ratios_trains_only_the_new_one(tmp_path, text, stores, caplog):
    base = pretrained(tmp_path, text, stores)
    first = adapted(tmp_path, text, base, 0.0, 0.5)
    with caplog.at_level(logging.INFO, logger="ptpp"):
        both = adapted(tmp_path, text, base, 0.0, 0.25, 0.5)
    assert [r for r in both if r["replay"] != "0.25"] == first
    assert sum("measured before" in record.getMessage() for record in caplog.records) == 2
    other = adapted(tmp_path, text, base, 0.0, 0.5, weight_decay=0.5)
    assert other[0]["loss"] != first[0]["loss"], "other settings are another measurement"


def test_costs_count_the_branches_too(tmp_path, text, stores):
    base = pretrained(tmp_path, text, stores)
    table = adapted(tmp_path, text, base, 0.0, 0.5)
    (cost, second) = rows(tmp_path / "costs.csv")
    assert (cost["run"], second["run"]) == ("w8.ptpp2.replay0", "w8.ptpp2.replay0.5")
    longest = max(int(row["adapt_tokens"]) for row in table)
    assert int(cost["tokens"]) > longest
    assert float(cost["flops"]) == 6 * run().n_params * int(cost["tokens"])
    assert float(cost["seconds"]) > 0 and int(cost["peak_memory_mib"]) > 0


def test_text_read_more_than_four_times_is_warned_of(tmp_path, text, stores, caplog):
    with caplog.at_level(logging.INFO, logger="ptpp"):
        base = pretrained(tmp_path, text, stores)
        few = [r for r in caplog.records if r.levelno == logging.WARNING]
        adapted(tmp_path, text, base, 0, atpp=(6.0,))
    many = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert not few
    assert any("reads its fr text" in message and "train_tokens" in message for message in many)


def test_a_run_that_diverges_names_its_cell_and_writes_nothing(tmp_path, text, stores):
    base = pretrained(tmp_path, text, stores)
    with pytest.raises(Diverged, match=r"w8 CPT from PTPP 2 at replay 0: .*lower"):
        adapted(tmp_path, text, base, 0, learning_rate=500.0, clip=1e9)
    assert not (tmp_path / "adapted.csv").exists()
    with pytest.raises(Diverged, match=r"w8 pre-training to PTPP 2"):
        (tmp_path / "wild").mkdir()
        pretrained(tmp_path / "wild", text, stores, learning_rate=500.0, clip=1e9)
    assert not (tmp_path / "wild" / "ptpp2").exists()


def test_a_checkpoint_of_another_shape_is_refused(tmp_path, text, stores):
    base = pretrained(tmp_path, text, stores)
    other = run(context=16)
    with pytest.raises(InputError, match="is not the configured"):
        adapt(
            other, 2.0, [0.5], [1.0], settings_for(OPTIMISER, other, 128), text,
            checkpoint=base["checkpoint"], zero_shot=base["zero_shot"],
            observations=tmp_path / "x.csv", costs=tmp_path / "y.csv", state=tmp_path / ".state",
            finished=tmp_path / "finished",
        )  # fmt: skip


def test_the_device_is_the_cpu_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert pick_device("auto") == "cpu"
    with pytest.raises(InputError, match="torch sees no GPU; accepted: auto, cpu"):
        pick_device("cuda")
