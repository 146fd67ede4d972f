"""What can go wrong under training: each fault ends in one line, and never in a wrong table."""

import contextlib
import json
import logging
import math
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from training_driver import (
    BATCH,
    MODEL,
    OPTIMISER,
    Child,
    Jobs,
    build_stores,
    text_files,
    torch_of_a_job,
)

from ptpp.errors import Diverged, InputError, Interrupted, Unwritable
from ptpp.jobs.files import atomic_directory, atomic_file, remove_leftovers
from ptpp.models.cpu import HandWritten, load_checkpoint
from ptpp.text.store import open_store
from ptpp.training import adaptation, job, pretraining
from ptpp.training.state import StateFolder, load_tensors, save_tensors


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with torch_of_a_job():
        yield


@pytest.fixture(autouse=True)
def everything_logged(caplog):
    caplog.set_level(logging.INFO, logger="ptpp")


@pytest.fixture
def work(tmp_path, training_stores):
    """Jobs in an empty folder that save after every step."""
    folder = tmp_path / "run"
    folder.mkdir()
    return Jobs(folder, training_stores)


@pytest.fixture
def adapted(tmp_path, whole):
    """Every job done, in a folder to damage."""
    shutil.copytree(whole.folder, tmp_path / "copied")
    return Jobs(tmp_path / "copied", whole.stores)


@pytest.fixture
def copied(adapted):
    """Both stages done, adaptation still to do, in a folder to damage."""
    shutil.rmtree(adapted.finished)
    adapted.observations.unlink()
    return adapted


def first_stage(work):
    """What the first stage wrote, by name."""
    return {n: each for n, each in work.results().items() if re.search(r"(ptpp|[a-z])1\b", n)}


def after(steps):
    """A `stopping` that asks to stop after so many steps."""
    count = iter(range(1, steps + 1))
    return lambda: next(count) == steps


def stopped(work, steps, job="pretrain"):
    """Start a job and stop it; its last save holds `steps` steps, the save before one less."""
    with pytest.raises(Interrupted, match=f"saved after {steps * BATCH} sequences"):
        if job == "adapt":
            work.adapt(stopping=after(steps))
        else:
            work.pretrain(work.stages[0], stopping=after(steps))


def flipped(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def resumed_at(told):
    return [int(n) for n in re.findall(r"saved state \((\d+) sequences\)", told)]


class Bomb:
    """Unpickling this leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


# Damage to a file, by what it is called.
DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": lambda path: os.truncate(path, path.stat().st_size // 2),
    "cut by a byte": lambda path: os.truncate(path, path.stat().st_size - 1),
    "a bit of the header": lambda path: flipped(path, 8 * 30),
    "a bit of the numbers": lambda path: flipped(path, 8 * (path.stat().st_size - 3) + 1),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(Bomb(path.with_name("opened")))),
    "a torch pickle": lambda path: torch.save(Bomb(path.with_name("opened")), path),
}
damaged = pytest.mark.parametrize("damage", DAMAGE)


# --- the disk is full


def test_a_disk_that_fills_while_state_is_saved_costs_one_save(work, whole):
    """Within a decay the state also holds the trunk; the limit lies between the two sizes."""
    child = Child(work, limits=[("file", 60_000)])
    assert child.end() == 1
    assert re.search(
        r"error: .*state\.safetensors: cannot be written .*make room, then run the same command "
        r"again$",
        child.said(),
        re.MULTILINE,
    )
    assert "Traceback" not in child.said()
    assert not work.checkpoint(1.0).exists()
    saved = load_tensors(work.pretrain_state(1.0) / "state.safetensors")[1]["position"]
    again = Child(work)
    assert again.end() == 0, again.said()
    assert resumed_at(again.said()) == [saved]
    assert saved == math.floor(0.7 * 111 / BATCH) * BATCH, "the last save before the decay"
    assert work.results() == whole.results()


def test_a_disk_that_is_full_when_the_checkpoint_is_written_leaves_none(work, whole):
    work = Jobs(work.folder, work.stores, save_every_s=1e9)
    child = Child(work, limits=[("file", 10_000)])
    assert child.end() == 1
    assert re.search(r"error: .*ptpp1: cannot be written .*make room", child.said())
    assert "Traceback" not in child.said()
    assert work.results() == {}
    assert list((work.folder / "checkpoints").iterdir()) == [], "nothing half-written is left"
    assert Child(work).end() == 0
    assert work.results() == whole.results()


def test_a_disk_that_is_full_when_a_table_is_written_loses_no_training(adapted, whole):
    copied = adapted
    copied.observations.unlink()
    child = Child(copied, "adapt", limits=[("file", 700)])
    assert child.end() == 1
    assert re.search(r"error: .*observations\.csv: cannot be written \(File too", child.said())
    assert not copied.observations.exists()
    again = Child(copied, "adapt")
    assert again.end() == 0
    assert again.said().count("measured before") == 2, "nothing is trained again"
    assert copied.results() == whole.results()


@pytest.fixture
def small_disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_real_disk_that_fills_up_at_any_time_ends_in_one_line(
    small_disk, tmp_path, training_stores, whole
):
    """Ballast leaves ever more room, so that the disk is full at one point after the other."""
    work = Jobs(small_disk / "run", training_stores)
    work.folder.mkdir()
    refused = set()
    for room in (0, 30_000, 60_000, 120_000, 180_000, 230_000, 260_000, 300_000):
        status = os.statvfs(small_disk)
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - room)))
        child = Child(work, log=tmp_path / "log.txt")
        if child.end() != 0:
            assert "No space left on device" in child.said(), child.said()
            assert "make room, then run the same command again" in child.said()
            assert "Traceback" not in child.said()
            refused.add(re.search(r"error: .*/([^/]+): cannot be", child.said())[1])
        ballast.unlink()
    assert "state.safetensors" in refused
    child = Child(work, log=tmp_path / "log.txt")
    assert child.end() == 0, child.said()
    assert work.results() == whole.results()


def test_what_stood_at_a_place_stands_there_still_when_the_disk_refuses(tmp_path):
    def full():
        raise OSError(28, "No space left on device")

    path = tmp_path / "table.csv"
    path.write_text("before")
    with pytest.raises(Unwritable, match=r"table\.csv: cannot be written"), atomic_file(path):
        full()
    assert path.read_text() == "before"
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "a").write_text("before")
    with pytest.raises(Unwritable, match="checkpoint"), atomic_directory(folder):
        full()
    assert (folder / "a").read_text() == "before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint", "table.csv"]


# --- damaged state, checkpoints, trunks


@damaged
def test_damaged_state_costs_one_save_interval(work, whole, caplog, damage):
    stopped(work, steps=9)
    folder = work.pretrain_state(1.0)
    DAMAGE[damage](folder / "state.safetensors")
    caplog.clear()
    work.pretrain(1.0)
    assert "state.safetensors: damaged or missing training state" in caplog.text
    assert resumed_at(caplog.text) == [8 * BATCH]
    assert not list(work.folder.rglob("opened")), "nothing was unpickled"
    assert work.results() == first_stage(whole)


def test_two_damaged_saves_cost_that_job_s_training_and_no_more(adapted, whole, caplog):
    work = adapted
    shutil.rmtree(work.checkpoint(2.0))
    shutil.rmtree(work.finished / "pretrain2")
    with pytest.raises(Interrupted):
        work.pretrain(2.0, stopping=after(9))
    for path in work.pretrain_state(2.0).glob("*.safetensors"):
        DAMAGE["cut in half"](path)
    caplog.clear()
    work.pretrain(2.0)
    assert caplog.text.count("damaged or missing training state") == 2
    assert not resumed_at(caplog.text)
    assert work.results() == whole.results()


@given(place=st.floats(0, 1, exclude_max=True))
def test_no_flipped_bit_of_a_state_goes_unnoticed(tmp_path_factory, place):
    path = tmp_path_factory.mktemp("state") / "state.safetensors"
    tensors = {"now.flat": torch.arange(12.0), "now.steps": torch.tensor([3])}
    save_tensors(path, tensors, {"position": 12, "records": [{"fr": 1.25}]})
    flipped(path, int(place * 8 * path.stat().st_size))
    with pytest.raises(InputError, match="damaged or missing training state"):
        load_tensors(path)


@damaged
def test_a_damaged_checkpoint_is_refused(copied, damage):
    DAMAGE[damage](copied.checkpoint(2.0) / "model.safetensors")
    with pytest.raises(InputError, match=r"ptpp2/model\.safetensors: is not what was written"):
        copied.adapt()
    assert not copied.observations.exists()
    assert not list(copied.folder.rglob("opened"))


@pytest.mark.parametrize("damage", [name for name in DAMAGE if not name.startswith("a bit")])
def test_a_damaged_checkpoint_from_elsewhere_is_refused(copied, damage):
    """It carries no digests: all but flipped bits, which make another model, is noticed."""
    (copied.checkpoint(2.0) / "sha256.json").unlink()
    path = copied.checkpoint(2.0) / "model.safetensors"
    DAMAGE[damage](path)
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read as GPT-2 weights"):
        load_checkpoint(path.parent)
    assert not list(copied.folder.rglob("opened"))


@given(name=st.sampled_from(["config.json", "sha256.json", "text.json"]), data=st.data())
def test_no_flipped_bit_beside_the_weights_goes_unnoticed(whole, tmp_path_factory, name, data):
    folder = tmp_path_factory.mktemp("checkpoint") / "ptpp2"
    shutil.copytree(whole.checkpoint(2.0), folder)
    path = folder / name
    flipped(path, data.draw(st.integers(0, 8 * path.stat().st_size - 1)))
    with pytest.raises(InputError):
        load_checkpoint(folder)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"n_head": 2}, "is not the configured"),
        ({"n_layer": None}, "n_layer is None, expected a whole number above 0"),
        ({"activation_function": "gelu_new"}, "activation_function is 'gelu_new', expected 'gelu'"),
    ],
)
def test_another_configuration_beside_the_weights_is_refused(copied, change, told):
    path = copied.checkpoint(2.0) / "config.json"
    (path.parent / "sha256.json").unlink()
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=told):
        copied.adapt()


@damaged
def test_a_damaged_trunk_of_the_stage_before_is_refused(copied, damage):
    before = copied.results()
    DAMAGE[damage](copied.trunk(1.0))
    told = r"trunk1\.safetensors: damaged or missing .*; delete it and run again"
    with pytest.raises(InputError, match=told):
        copied.pretrain(2.0)
    changed = {name for name, content in copied.results().items() if content != before[name]}
    assert changed <= {"trunk1.safetensors"}


def test_a_damaged_zero_shot_table_is_refused(copied):
    path = copied.zero_shot(2.0)
    lines = path.read_text().splitlines()
    for content in ("\n".join(lines[:-1]), "", "a,b\n1,2\n"):
        path.write_text(content)
        with pytest.raises(InputError, match=r"zero_shot2\.csv: holds no loss of fr"):
            copied.adapt()


# --- token stores that change


@pytest.fixture
def other_stores(tmp_path, training_stores):
    """A copy of the token stores, to be changed."""
    return Path(shutil.copytree(training_stores, tmp_path / "stores"))


def rewritten(stores, tmp_path, *names):
    """Replace stores by others of the same languages, as large, in the same tokens."""
    other = tmp_path / "other"
    shutil.copytree(stores / "tokenizer", other / "tokenizer")
    build_stores(other, seed=1)
    for name in names:
        for path in other.glob(f"{name}.*"):
            shutil.copy(path, stores)


@given(place=st.floats(0, 1, exclude_max=True), suffix=st.sampled_from(["bin", "json"]))
def test_no_flipped_bit_of_a_token_store_goes_unnoticed(
    training_stores, tmp_path_factory, place, suffix
):
    folder = tmp_path_factory.mktemp("store")
    for end in ("bin", "json"):
        shutil.copy(training_stores / f"fr.valid.{end}", folder)
    path = folder / f"fr.valid.{suffix}"
    flipped(path, int(place * 8 * path.stat().st_size))
    with pytest.raises(InputError, match=r"fr\.valid\."):
        open_store(folder / "fr.valid.bin")


def test_a_store_that_was_damaged_under_a_checkpoint_ends_the_job(copied, other_stores):
    flipped(other_stores / "fr.train.bin", 4_000)
    work = Jobs(copied.folder, other_stores)
    with pytest.raises(InputError, match=r"fr\.train\.bin: changed since it was written"):
        work.adapt()
    assert not work.observations.exists()


@pytest.mark.parametrize("name", ["en.train", "ar.train", "en.valid", "fr.valid"])
def test_a_checkpoint_of_other_text_is_refused(copied, other_stores, tmp_path, name):
    """Its zero-shot losses, at least, belong to text that is no more."""
    rewritten(other_stores, tmp_path, name)
    work = Jobs(copied.folder, other_stores)
    with pytest.raises(InputError, match="ptpp2: trained or measured on other text"):
        work.adapt()
    assert not work.observations.exists()


def test_other_target_text_is_trained_on_anew_from_the_same_checkpoint(
    adapted, other_stores, tmp_path, caplog
):
    copied = adapted
    stopped(Jobs(copied.folder, copied.stores, atpp=(1.0,)), 9, "adapt")
    before = copied.observations.read_bytes()
    rewritten(other_stores, tmp_path, "fr.train")
    caplog.clear()
    work = Jobs(copied.folder, other_stores)
    work.adapt()
    assert "measured before" not in caplog.text
    assert "saved under other settings, input or version; not used" in caplog.text
    assert work.observations.read_bytes() != before
    fresh = Jobs(tmp_path / "fresh", other_stores)
    shutil.copytree(copied.checkpoint(2.0), fresh.checkpoint(2.0))
    shutil.copy(copied.zero_shot(2.0), fresh.folder)
    fresh.adapt()
    assert work.observations.read_bytes() == fresh.observations.read_bytes()


# --- a changed experiment makes state and finished trajectories stale


CHANGES = {
    "learning rate": {"optimiser": (("learning_rate", 0.011),)},
    "schedule": {"optimiser": (("decay_fraction", 0.5),)},
    "batch": {"model": (("batch_tokens", 96),)},
    "micro-batch": {"model": (("micro_batch_tokens", 64),)},
    "seed": {"model": (("seed", 1),)},
}


OTHERS = {"budgets": {"atpp": (0.5, 1.5)}, "code": {"code": "another digest"}}


@pytest.mark.parametrize("change", CHANGES)
def test_state_of_other_settings_is_not_gone_on_from(work, tmp_path, caplog, change):
    stopped(work, steps=9)
    caplog.clear()
    changed = Jobs(work.folder, work.stores, stages=(1.0,), **CHANGES[change])
    changed.pretrain(1.0)
    assert "saved under other settings, input or version; not used" in caplog.text
    assert not resumed_at(caplog.text)
    fresh = Jobs(tmp_path / "fresh", work.stores, stages=(1.0,), **CHANGES[change])
    fresh.folder.mkdir()
    fresh.pretrain(1.0)
    assert changed.results() == fresh.results()


def test_state_belongs_to_a_version_of_the_numerics_and_not_to_the_code(work, caplog, monkeypatch):
    """An edit that moves no number goes on with a run of weeks; others raise the version."""
    stopped(work, steps=9)
    edited = Jobs(work.folder, work.stores, code="another digest")
    with pytest.raises(Interrupted):
        edited.pretrain(1.0, stopping=after(2))
    assert resumed_at(caplog.text) == [9 * BATCH]
    monkeypatch.setattr(job, "NUMERICS_VERSION", job.NUMERICS_VERSION + 1)
    with pytest.raises(Interrupted):
        edited.pretrain(1.0, stopping=after(2))
    assert resumed_at(caplog.text) == [9 * BATCH], "not a second time"
    assert "saved under other settings, input or version; not used" in caplog.text


@pytest.mark.parametrize("change", [*CHANGES, "code", "budgets", "checkpoint"])
def test_trajectories_of_other_settings_are_not_reused(adapted, tmp_path, caplog, change):
    copied = adapted
    trajectories = len(list(copied.finished.glob("*.json")))
    before = copied.observations.read_bytes()
    if change == "checkpoint":
        shutil.rmtree(copied.checkpoint(2.0))
        shutil.copytree(copied.checkpoint(1.0), copied.checkpoint(2.0))
    changed = Jobs(
        copied.folder,
        copied.stores,
        **CHANGES.get(change, OTHERS.get(change, {})),
    )
    caplog.clear()
    changed.adapt()
    assert "measured before" not in caplog.text
    assert len(list(changed.finished.glob("*.json"))) == trajectories + 2
    if change not in ("code", "micro-batch"):
        assert changed.observations.read_bytes() != before


def test_trajectories_are_remembered_whatever_the_list_of_ratios(adapted, caplog):
    copied = adapted
    before = copied.observations.read_text().splitlines()
    caplog.clear()
    copied.adapt(replays=(0.5, 0.25, 0.0))
    assert caplog.text.count("measured before") == 2
    after = copied.observations.read_text().splitlines()
    assert set(before) < set(after)


@pytest.mark.parametrize("damage", ["empty", "cut in half", "a pickle", "another loss", "a list"])
def test_a_damaged_file_of_a_finished_trajectory_is_measured_again(adapted, whole, caplog, damage):
    copied = adapted
    kept = sorted(copied.finished.glob("*.json"))[0]
    if damage == "another loss":
        loss = json.loads(kept.read_text())["trajectory"]["rows"][0]["loss"]
        kept.write_text(kept.read_text().replace(str(loss), str(loss + 1)))
    elif damage == "a list":
        kept.write_text("[]")
    else:
        DAMAGE[damage](kept)
    caplog.clear()
    copied.adapt()
    assert f"{kept.name}: damaged; this trajectory is trained and measured again" in caplog.text
    assert caplog.text.count("measured before") == 1
    assert not list(copied.folder.rglob("opened"))
    assert copied.results() == whole.results()


# --- losses that are not numbers


@pytest.fixture
def poisoned(monkeypatch):
    """Weights that become NaN at one step."""

    def at(step):
        gradients, steps = HandWritten.gradients, iter(range(1, 10_000))

        def poison(backend, tokens):
            if next(steps) == step:
                backend.weights.flat.fill_(math.nan)
            return gradients(backend, tokens)

        monkeypatch.setattr(HandWritten, "gradients", poison)

    return at


def test_nan_in_pre_training_names_the_run_and_writes_nothing(work, whole, poisoned, monkeypatch):
    poisoned(9)
    tokens = 9 * MODEL["batch_tokens"]
    told = f"w8 pre-training to PTPP 1: loss is nan after {tokens} tokens; lower the learning rate"
    with pytest.raises(Diverged, match=told):
        work.pretrain(1.0)
    assert work.results() == {}
    monkeypatch.undo()
    work.pretrain(1.0)
    assert work.results() == first_stage(whole), "no NaN was saved"


def test_nan_in_adaptation_names_the_cell_and_enters_no_table(copied, whole, poisoned, monkeypatch):
    poisoned(50)  # each of the two trajectories takes 33 steps
    with pytest.raises(Diverged, match=r"w8 CPT from PTPP 2 at replay 0\.5: loss is nan after"):
        copied.adapt()
    assert not copied.observations.exists()
    assert len(list(copied.finished.glob("*.json"))) == 1, "the first trajectory stays"
    monkeypatch.undo()
    copied.adapt()
    assert copied.results() == whole.results()


@pytest.mark.parametrize(
    ("language", "bad"), [("en", math.nan), ("ar", -math.inf), ("fr", math.inf)]
)
def test_a_loss_that_is_not_finite_at_evaluation_alone_enters_no_table(
    work, copied, monkeypatch, language, bad
):
    for module in (pretraining, adaptation):
        measure = module.held_out_losses
        monkeypatch.setattr(
            module, "held_out_losses", lambda *a, m=measure: m(*a) | {language: bad}
        )
    with pytest.raises(Diverged, match=f"pre-training to PTPP 1: {language} loss is {bad}"):
        work.pretrain(1.0)
    assert work.results() == {}
    with pytest.raises(Diverged, match=f"at replay 0: {language} loss is {bad} at ATPP 0.5"):
        copied.adapt()
    assert not copied.observations.exists() and not copied.finished.exists()


# --- out of memory


def test_exhausted_memory_ends_in_one_line_that_says_what_to_do(work):
    """A batch of 4,000 sequences needs some 300 MB."""
    large = (("batch_tokens", 4_000 * MODEL["context"]),)
    work = Jobs(work.folder, work.stores, stages=(50.0,), model=large)
    child = Child(work, limits=[("memory", 100_000_000)])
    assert child.end() == 1
    lines = [line for line in child.said().splitlines() if "error" in line]
    assert len(lines) == 1
    assert re.search(
        r"error: out of memory \(.*\); give the job more \(resources: mem_mb\) or lower "
        r"batch_tokens, then run the same command again$",
        lines[0],
    )
    assert "Traceback" not in child.said()
    assert work.results() == {}


# --- asked to stop


@pytest.mark.parametrize(
    ("number", "where"), [(signal.SIGTERM, "trunk"), (signal.SIGINT, "branch")]
)
def test_a_job_that_is_asked_to_stop_saves_and_goes_on_from_exactly_there(
    work, whole, where, number
):
    """It saves nothing else, so that what it goes on from was saved at the signal."""
    work = Jobs(work.folder, work.stores, save_every_s=1e9)
    child = Child(work, "1", halts_at=where).halted()
    child.signal(number)
    assert child.go().end() == 1
    told = re.search(
        r"stopped: w8 pre-training to PTPP 1: asked to stop; saved after (\d+) sequences; the "
        r"same command goes on from there$",
        child.said(),
        re.MULTILINE,
    )
    assert told, child.said()
    assert work.results() == {}
    again = Child(work, "1")
    assert again.end() == 0
    assert resumed_at(again.said()) == [int(told[1])]
    assert work.results() == first_stage(whole)


def test_a_second_ctrl_c_ends_a_job_at_once(work):
    child = Child(work, halts_at="branch").halted()
    child.signal(signal.SIGINT)
    time.sleep(0.05)
    child.signal(signal.SIGINT)
    assert child.end() != 0, "while it still stood where it halts"
    assert work.results() == {}


# --- two at once


def test_a_second_process_on_the_same_training_is_turned_away(work, whole):
    first = Child(work, log=work.folder.parent / "first.txt", halts_at="branch").halted()
    second = Child(work)
    assert second.end() == 1
    assert re.search(
        r"error: .*pretrain\d: another process is training this; wait for it or stop it, then run "
        r"again$",
        second.said(),
        re.MULTILINE,
    )
    assert first.go().end() == 0
    assert work.results() == whole.results()


def test_a_filesystem_without_locks_is_told_and_trained_on(tmp_path, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with StateFolder(tmp_path / "state", "f").lock():
        pass
    assert "not held against a second run (" in caplog.text
    assert "Function not implemented" in caplog.text


def test_what_a_killed_writer_left_is_cleared_and_nothing_else(tmp_path):
    left = [".ptpp2.abcd1234", ".ptpp2.5.abcd1234", ".state.abcd_123.safetensors"]
    kept = ["ptpp2", ".ptpp2.x", "state.safetensors", "previous.state.safetensors", ".state"]
    for name in left[:2]:
        (tmp_path / name).mkdir()
    for name in [left[2], *kept]:
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "ptpp2")
    assert {p.name for p in tmp_path.iterdir()} == {*left[1:], *kept}
    remove_leftovers(tmp_path / "state.safetensors")
    assert {p.name for p in tmp_path.iterdir()} == {left[1], *kept}
    remove_leftovers(tmp_path / "absent" / "file")


# --- pickle


def test_no_code_of_ours_loads_a_pickle():
    sources = [*ROOT.glob("ptpp/**/*.py"), *ROOT.glob("scripts/*.py"), *ROOT.glob("rules/**/*.smk")]
    assert len(sources) > 60
    loads = re.compile(
        r"^\s*(import|from) (pickle|cPickle|dill|joblib|shelve|marshal)\b|torch\.load\b|"
        r"read_pickle|allow_pickle=True|yaml\.(unsafe_|full_)?load\(|trust_remote_code=True",
        re.MULTILINE,
    )
    found = {path.name: m.group() for path in sources if (m := loads.search(path.read_text()))}
    assert not found


# --- asked to stop under Snakemake


SNAKEFILE = """
rule adapt:
    input: "w8.checkpoint"
    output: "adapted"
    shell: "touch {{output}}"

rule pretrain:
    input:
        tokenizer="{stores}/tokenizer",
        train=expand("{stores}/{{language}}.train.bin", language=["en", "ar", "fr"]),
        valid=expand("{stores}/{{language}}.valid.bin", language=["en", "ar", "fr"]),
        previous=[],
    output:
        checkpoint=directory("{{model}}.checkpoint"), trunk="{{model}}.trunk",
        zero_shot="{{model}}.zero_shot.csv", curve="{{model}}.curve.csv",
        cost="{{model}}.cost.csv",
    log: "{{model}}.log"
    threads: 1
    resources: save_every=1_000_000, devices=1, jobs_per_gpu=1, tensorboard=0, compile="auto"
    params:
        model={model}, ptpp={ptpp}, optimiser={optimiser}, text={text}, state=".state/w8",
        finished=".state/finished/w8", code="",
    script: "{root}/scripts/pretrain.py"
"""


@pytest.fixture
def workflow(tmp_path, training_stores):
    """The script of a long pre-training job under Snakemake, and what it must end in."""
    alone = Jobs(tmp_path / "alone", training_stores, save_every_s=1e9, stages=(40.0,))
    alone.folder.mkdir()
    alone.pretrain(40.0)
    folder = tmp_path / "workflow"
    folder.mkdir()
    values = {
        "stores": training_stores,
        "model": MODEL,
        "ptpp": 40.0,
        "optimiser": OPTIMISER,
        "text": {
            key: value
            for key, value in text_files(training_stores).items()
            if key not in ("train", "valid")
        },
        "root": ROOT,
    }
    (folder / "Snakefile").write_text(SNAKEFILE.format(**values))
    return folder, alone


def scripts_of(session):
    """Processes of a session that run the script, found in /proc."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command = (path / "cmdline").read_bytes().split(b"\0")
            if os.getsid(int(path.name)) == session and b"python" in command[0]:
                found += [int(path.name)] if b"pretrain.py" in command[1] else []
    return found


def test_signals_under_snakemake_lose_nothing_and_the_same_command_goes_on(workflow):
    """In turn: to all processes as SLURM does it, to Snakemake's head alone."""
    folder, alone = workflow
    log, positions = folder / "w8.log", []
    for to in ("all", "head"):
        log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "snakemake", "--cores", "1", "--rerun-incomplete"]
        process = subprocess.Popen(
            [*command, "adapted"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not (log.exists() and "reads its" in log.read_text()):
            assert process.poll() is None, "ended before it trained"
            time.sleep(0.01)
        time.sleep(0.1)
        assert len(scripts_of(process.pid)) == 1
        if to == "all":
            os.killpg(process.pid, signal.SIGTERM)
        else:
            process.terminate()
        status = process.wait(600)
        while scripts_of(process.pid):  # it may outlive the shell it was started by
            time.sleep(0.01)
        said = log.read_text()
        assert resumed_at(said) == positions[-1:], "from exactly where it was stopped"
        if to != "head":
            assert status != 0
            told = re.search(r"stopped: .*saved after (\d+) sequences; the same command", said)
            assert told, said
            positions.append(int(told[1]))
            assert not (folder / "w8.zero_shot.csv").exists()
    assert positions[0] > 0
    # A head that is asked to end waits for what runs and starts no more.
    assert not (folder / "adapted").exists()
    for made, expected in (
        ("w8.checkpoint/model.safetensors", alone.checkpoint(40.0) / "model.safetensors"),
        ("w8.trunk", alone.trunk(40.0)),
        ("w8.zero_shot.csv", alone.zero_shot(40.0)),
        ("w8.curve.csv", alone.folder / "curve40.csv"),
    ):
        assert (folder / made).read_bytes() == expected.read_bytes()
