"""Pre-training stages and CPT trajectories on small stores: what they write, warn of and refuse."""

import csv
import logging
import shutil
from dataclasses import replace

import pytest
from training_driver import Jobs, torch_of_a_job

from ptpp.errors import Diverged, InputError, Interrupted
from ptpp.jobs.heartbeat import Job
from ptpp.training.adaptation import adapt
from ptpp.training.job import pick_device
from ptpp.training.measurement import held_out_losses
from ptpp.training.run import launch_job
from ptpp.training.state import StateFolder


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with torch_of_a_job():
        yield


@pytest.fixture
def work(tmp_path, training_stores):
    """Jobs of one model in an empty folder."""
    return Jobs(tmp_path, training_stores, save_every_s=30.0, stages=(2.0,))


@pytest.fixture
def adapting(tmp_path, whole):
    """Jobs of a model that is pre-trained, and adapted once."""
    shutil.copytree(whole.folder, tmp_path / "adapting")
    return Jobs(tmp_path / "adapting", whole.stores, save_every_s=30.0)


def adapt_to(jobs, *replays):
    jobs.adapt(replays)
    return rows(jobs.observations)


def rows(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_stage_leaves_checkpoint_trunk_zero_shot_losses_and_curve(work):
    work.pretrain(2.0)
    losses = {row["domain"]: float(row["loss"]) for row in rows(work.zero_shot(2.0))}
    assert set(losses) == {"en", "ar", "fr"}
    assert max(losses["en"], losses["ar"]) < losses["fr"], "French was never read"
    assert (work.checkpoint(2.0) / "model.safetensors").exists()
    assert (work.checkpoint(2.0) / "tokenizer.json").exists()
    assert work.trunk(2.0).exists()
    assert not work.pretrain_state(2.0).exists()


def test_stages_on_one_trunk_equal_one_long_run_for_the_later_checkpoint(whole, work):
    work.pretrain(2.0)
    alone, second = (rows(jobs.zero_shot(2.0)) for jobs in (work, whole))
    assert [row["loss"] for row in second] == [row["loss"] for row in alone]
    first, both = (rows(whole.folder / f"curve{stage}.csv") for stage in (1, 2))
    assert both[0] == first[0], "the curve is the whole trunk's"


def test_independent_schedules_train_each_stage_by_itself(tmp_path, training_stores):
    independent = (("schedule", "independent"),)
    two, alone = (
        Jobs(tmp_path / str(len(stages)), training_stores, 30.0, stages, optimiser=independent)
        for stages in ((1.0, 2.0), (2.0,))
    )
    for jobs in (two, alone):
        for stage in jobs.stages:
            jobs.pretrain(stage)
            assert rows(jobs.folder / f"curve{stage:g}.csv")
    second, other = (rows(jobs.zero_shot(2.0)) for jobs in (two, alone))
    assert [row["loss"] for row in second] == [row["loss"] for row in other]


def test_a_trajectory_measures_every_budget_on_every_domain(whole):
    table = rows(whole.observations)
    assert {(float(row["atpp"]), row["domain"]) for row in table} == {
        (atpp, domain) for atpp in (0.5, 1.0) for domain in ("en", "ar", "fr")
    }
    n = whole.adaptation().n_params
    for row in table:
        tokens = int(row["adapt_tokens"])
        assert abs(tokens - float(row["atpp"]) * n) <= 32
        assert float(row["flops"]) == 6 * n * tokens
        assert float(row["loss"]) > 0 and float(row["bits_per_byte"]) > 0


def test_a_finished_stage_is_put_back_when_its_outputs_were_deleted(adapting, whole, caplog):
    for path in (adapting.trunk(2.0), adapting.zero_shot(2.0), adapting.folder / "curve2.csv"):
        path.unlink()
    shutil.rmtree(adapting.checkpoint(2.0))
    with caplog.at_level(logging.INFO, logger="ptpp"):
        adapting.pretrain(2.0)
    assert "w8 pre-training to PTPP 2: trained before" in caplog.text
    assert adapting.results() == whole.results()
    assert not list(adapting.folder.glob(".*.????????*")), "nothing half-written is left"


def test_what_was_finished_otherwise_or_is_damaged_is_trained(adapting, caplog):
    trunk = adapting.trunk(2.0).read_bytes()
    other = replace(adapting, optimiser=(("weight_decay", 0.5),))
    with caplog.at_level(logging.INFO, logger="ptpp"):
        other.pretrain(2.0)
        assert other.trunk(2.0).read_bytes() != trunk
        kept = other.finished / "pretrain2" / "trunk"
        kept.write_bytes(kept.read_bytes()[:-1] + b"x")
        other.pretrain(2.0)
        assert "trained before" not in caplog.text
        assert "damaged" in caplog.text and "trained again" in caplog.text
        replace(other, code="edited").pretrain(2.0)
    assert "trained before" not in caplog.text, "finished work belongs to its code"


def test_one_process_or_one_for_each_replay_ratio_measure_the_same(adapting):
    shutil.rmtree(adapting.finished)
    together = adapt_to(adapting, 0.0, 0.5, 1.0)
    shutil.rmtree(adapting.finished)
    alone = [row for replay in (0.0, 0.5, 1.0) for row in adapt_to(adapting, replay)]
    assert together == alone


def test_a_longer_list_of_ratios_trains_only_the_new_one(adapting, caplog):
    first = rows(adapting.observations)
    with caplog.at_level(logging.INFO, logger="ptpp"):
        both = adapt_to(adapting, 0.0, 0.25, 0.5)
    assert [row for row in both if row["replay"] != "0.25"] == first
    assert sum("measured before" in record.getMessage() for record in caplog.records) == 2
    other = adapt_to(replace(adapting, optimiser=(("weight_decay", 0.5),)), 0.0)
    assert other[0]["loss"] != first[0]["loss"], "other settings are another measurement"


def test_costs_count_the_branches_too(whole):
    (cost, second) = rows(whole.folder / "costs.csv")
    assert (cost["run"], second["run"]) == ("w8.ptpp2.replay0", "w8.ptpp2.replay0.5")
    longest = max(int(row["adapt_tokens"]) for row in rows(whole.observations))
    assert int(cost["tokens"]) > longest
    assert float(cost["flops"]) == 6 * whole.adaptation().n_params * int(cost["tokens"])
    assert float(cost["seconds"]) > 0 and int(cost["peak_memory_mib"]) > 0


def test_text_read_more_than_four_times_is_warned_of(whole, adapting, caplog):
    with caplog.at_level(logging.INFO, logger="ptpp"):
        replace(adapting, code="edited").pretrain(1.0)
        few = [r for r in caplog.records if r.levelno == logging.WARNING]
        adapt_to(replace(adapting, atpp=(9.0,)), 0)
    many = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert not few
    assert any("reads its fr text" in message and "train_tokens" in message for message in many)


def test_a_target_loss_above_the_checkpoint_s_own_is_a_measurement(adapting, caplog, monkeypatch):
    """As of a checkpoint that knows the target: adaptation may cost it some of that."""
    zero_shot = rows(adapting.zero_shot(2.0))
    before = next(float(row["loss"]) for row in zero_shot if row["domain"] == "fr")

    def worse(*arguments):
        return held_out_losses(*arguments) | {"fr": before + 0.25}

    monkeypatch.setattr("ptpp.training.adaptation.held_out_losses", worse)
    with caplog.at_level(logging.WARNING, logger="ptpp"):
        table = adapt_to(adapting, 0.25, 1.0)
    assert [float(row["loss"]) for row in table if row["domain"] == "fr"] == [before + 0.25] * 4
    warnings = [r.getMessage() for r in caplog.records if "is above the checkpoint's own" in r.msg]
    assert len(warnings) == 2, "at replay 1 nothing of the target is trained on"
    assert warnings[0].startswith("w8 CPT from PTPP 2 at replay 0.25: fr loss of ")


def test_a_run_that_diverges_names_its_cell_and_writes_nothing(work, adapting, tmp_path):
    wild = (("learning_rate", 1e30), ("clip", 1e30))
    adapting.observations.unlink()
    with pytest.raises(Diverged, match=r"w8 CPT from PTPP 2 at replay 0: .*lower"):
        adapt_to(replace(adapting, optimiser=wild), 0)
    assert not adapting.observations.exists()
    with pytest.raises(Diverged, match=r"w8 pre-training to PTPP 2"):
        bad = (("learning_rate", 500.0), ("clip", 1e9))
        replace(work, optimiser=bad).pretrain(2.0)
    assert not work.checkpoint(2.0).exists()


def test_a_checkpoint_of_another_shape_is_refused(adapting):
    with pytest.raises(InputError, match="is not the configured"):
        adapt(replace(adapting, model=(("context", 16),)).adaptation())


def test_the_device_is_the_cpu_where_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert pick_device("auto") == "cpu"
    with pytest.raises(InputError, match="torch sees no GPU; accepted: auto, cpu"):
        pick_device("cuda")


# --- several ratios at once, as on a GPU


@pytest.fixture
def stacked(monkeypatch):
    """Jobs that train two ratios at a time, though this is a CPU."""
    sizes = []

    def size(model, batch, count):
        sizes.append(min(2, count))
        return sizes[-1]

    monkeypatch.setattr("ptpp.training.adaptation.stack_size", size)
    return sizes


RATIOS = (0.0, 0.25, 0.5)


def test_ratios_trained_at_once_measure_what_they_do_one_by_one(adapting, stacked, monkeypatch):
    shutil.rmtree(adapting.finished)
    together, costs = adapt_to(adapting, *RATIOS), rows(adapting.folder / "costs.csv")
    assert stacked == [2]
    assert not adapting.adapt_state.exists()
    again = adapt_to(adapting, *RATIOS, 1.0)
    assert again[: len(together)] == together, "each is kept by itself"
    shutil.rmtree(adapting.finished)
    monkeypatch.setattr("ptpp.training.adaptation.stack_size", lambda *_: 1)
    alone, expected = adapt_to(adapting, *RATIOS), rows(adapting.folder / "costs.csv")
    for one, other in zip(together, alone, strict=True):
        assert float(one.pop("loss")) == pytest.approx(float(other.pop("loss")), abs=2e-5)
        one.pop("bits_per_byte"), other.pop("bits_per_byte")
        assert one == other
    assert [cost["tokens"] for cost in costs] == [cost["tokens"] for cost in expected]
    assert float(costs[0]["seconds"]) == float(costs[1]["seconds"]) > 0


@pytest.mark.parametrize("at_once", [1, 2])
def test_ratios_trained_at_once_count_every_token(adapting, monkeypatch, tmp_path, at_once):
    monkeypatch.setattr("ptpp.training.adaptation.stack_size", lambda *_: at_once)
    shutil.rmtree(adapting.finished)
    watched = Job(tmp_path, "job")
    launch_job(replace(adapting.adaptation(), replays=RATIOS), watched_by=watched)
    tokens = sum(int(cost["tokens"]) for cost in rows(adapting.folder / "costs.csv"))
    assert watched.tokens == tokens
    assert watched.flops == pytest.approx(6 * adapting.adaptation().n_params * tokens)
    assert 0.6 < watched.share <= 1


def test_ratios_stopped_at_once_go_on_to_the_same_bits(adapting, stacked):
    shutil.rmtree(adapting.finished)
    expected = adapt_to(adapting, *RATIOS)
    shutil.rmtree(adapting.finished)
    steps, stops = iter(range(10_000)), 0
    while True:
        try:
            job = replace(adapting.adaptation(), replays=RATIOS)
            launch_job(job, stopping=lambda: next(steps) % 15 == 14)
            break
        except Interrupted:
            stops += 1
    assert stops > 2
    assert rows(adapting.observations) == expected


def test_state_of_ratios_that_are_no_longer_trained_at_once_is_removed(adapting, monkeypatch):
    """Three at once are stopped, then two at a time, since memory got less; last one by one."""
    shutil.rmtree(adapting.finished)
    job = replace(adapting.adaptation(), replays=RATIOS)
    for at_once in (3, 2):
        monkeypatch.setattr("ptpp.training.adaptation.stack_size", lambda *_, size=at_once: size)
        steps = iter(range(10_000))
        with pytest.raises(Interrupted):
            launch_job(job, stopping=lambda steps=steps: next(steps) == 5)
    monkeypatch.setattr("ptpp.training.adaptation.stack_size", lambda *_: 1)

    def left():
        return sorted(path.name for path in adapting.adapt_state.iterdir())

    assert left() == ["replay0+0.25", "replay0+0.25+0.5"]
    for name in ("replay0.75+1", "replay0.5+0.75"):  # another job's, and a held one
        (adapting.adapt_state / name).mkdir()
    with StateFolder(adapting.adapt_state / "replay0.5+0.75", "").lock():
        launch_job(job)
        assert left() == ["replay0.5+0.75", "replay0.75+1"]
    assert len(list(adapting.finished.glob("*.json"))) == len(RATIOS)
    expected = rows(adapting.observations)
    launch_job(job)
    assert left() == ["replay0.75+1"]
    assert rows(adapting.observations) == expected


def test_where_one_of_several_diverges_each_is_trained_by_itself(adapting, stacked, caplog):
    shutil.rmtree(adapting.finished)
    wild = replace(adapting, optimiser=(("learning_rate", 1e30),))
    with caplog.at_level(logging.WARNING, logger="ptpp"), pytest.raises(Diverged) as error:
        adapt_to(wild, *RATIOS)
    assert str(error.value).startswith("w8 CPT from PTPP 2 at replay 0: loss is")
    (warning,) = [record.getMessage() for record in caplog.records]
    assert warning.startswith("w8 CPT from PTPP 2 at replay 0, 0.25: loss is")
    assert warning.endswith("goes on with one ratio after another")
