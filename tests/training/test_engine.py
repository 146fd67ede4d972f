"""The training loop: schedules, milestones, divergence, and resuming to the bit."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from ptpp.errors import Diverged, Interrupted
from ptpp.models.backend import Group, start_model
from ptpp.models.huggingface import start_module
from ptpp.models.sizes import Shape
from ptpp.training import engine
from ptpp.training.data import BlockOrder, Mixture
from ptpp.training.engine import Task, Trajectory, rate_multiplier, train
from ptpp.training.feeding import Feed
from ptpp.training.job import SINGLE, Process
from ptpp.training.measurement import held_out_losses
from ptpp.training.schedule import Milestone, Settings, sequences_trained
from ptpp.training.state import StateFolder, previous

SHAPE = Shape(width=8, depth=1, heads=1, context=8, vocab_size=32)
SETTINGS = Settings(
    learning_rate=0.02, base_width=8, batch=4, warmup=8, decay_fraction=0.25, clip=1.0
)


def milestone(end, settings=SETTINGS):
    return Milestone.at(
        end * SHAPE.context / SHAPE.n_params, SHAPE.n_params, SHAPE.context, settings
    )


MILESTONES = [milestone(end) for end in (30, 60, 90)]


@pytest.fixture
def text():
    """A text with something to learn: each token tells the next."""
    rng = np.random.default_rng(0)
    steps = rng.choice([1, 1, 1, 7], size=4000)
    return (np.cumsum(steps) % 32).astype(np.uint16)


class Stopped(Exception):
    """Stands in for a kill."""


def train_all(task, backend, state, process=SINGLE, measure=lambda: {}):
    """Drive `train` to its end; the trajectory."""
    trajectory = Trajectory()
    for _ in train(task, backend, trajectory, state, process):
        trajectory.records.append(measure())
    return trajectory


def mixture_of(text, stop_after=None):
    """The text as a mixture that counts its batches and raises Stopped after `stop_after`."""
    mixture = Mixture({"x": BlockOrder(text, SHAPE.context, (0,))}, {"x": 1.0})
    batch, mixture.steps = mixture.batch, 0

    def counted(start, stop):
        mixture.steps += 1
        if stop_after is not None and mixture.steps > stop_after:
            raise Stopped
        return batch(start, stop)

    mixture.batch = counted
    return mixture, {"x": batch(0, 16)}


def run(text, folder, milestones=MILESTONES, settings=SETTINGS, fingerprint="f", stop_after=None):
    """Train, perhaps to a stop. Returns records, curve, weights and the number of steps taken."""
    torch.set_num_threads(1)
    backend = start_model(SHAPE, 0)
    mixture, blocks = mixture_of(text, stop_after)
    task = Task("test", mixture, settings, milestones, save_every_s=0.0)
    state = StateFolder(folder, fingerprint)
    try:
        done = train_all(task, backend, state, measure=lambda: held_out_losses(backend, blocks))
    except Stopped:
        return None, None, None, mixture.steps
    return done.records, done.points, backend, mixture.steps


def test_loss_falls_from_milestone_to_milestone(text, tmp_path):
    records, curve, _, _ = run(text, tmp_path)
    losses = [record["x"] for record in records]
    assert losses[0] > losses[1] > losses[2]
    assert losses[2] < math.log(32)
    assert curve[0][1] > curve[-1][1]


@pytest.mark.parametrize("stop_after", [1, 5, 8, 9, 14, 20, 26])
def test_stopped_and_resumed_equals_uninterrupted_to_the_bit(text, tmp_path, stop_after):
    records, curve, model, steps = run(text, tmp_path / "whole")
    assert run(text, tmp_path / "cut", stop_after=stop_after)[0] is None
    again, curve_again, resumed, steps_again = run(text, tmp_path / "cut")
    assert steps_again < steps
    assert again == records
    assert curve_again == curve
    for name, tensor in model.state("now").items():
        assert torch.equal(tensor, resumed.state("now")[name])


def test_state_of_another_run_is_refused(text, tmp_path):
    run(text, tmp_path, stop_after=9, fingerprint="other settings")
    _, _, _, steps = run(text, tmp_path)
    _, _, _, from_scratch = run(text, tmp_path / "fresh")
    assert steps == from_scratch


def test_two_damaged_saves_cost_a_restart_and_no_more(text, tmp_path):
    run(text, tmp_path, stop_after=9)
    path = StateFolder(tmp_path, "f").path
    for each in (path, previous(path)):
        each.write_bytes(each.read_bytes()[:-50])
    records, *_ = run(text, tmp_path)
    assert records == run(text, tmp_path / "fresh")[0]


def test_milestones_of_a_trunk_do_not_disturb_each_other(text, tmp_path):
    together, *_ = run(text, tmp_path / "all")
    alone, *_ = run(text, tmp_path / "last", milestones=MILESTONES[2:])
    assert together[2] == alone[0]


def test_a_milestone_ends_exactly_at_its_budget():
    settings = Settings(learning_rate=1, base_width=8, batch=8, warmup=0, decay_fraction=0.2)
    point = Milestone.at(15, n_params=16_832, context=128, settings=settings)
    assert point.end == round(15 * 16_832 / 128)
    assert point.branch % settings.batch == 0
    assert 0.2 <= (point.end - point.branch) / point.end < 0.21


def test_independent_schedules_decay_from_the_start():
    settings = Settings(learning_rate=1, base_width=8, batch=4, warmup=0, decay_fraction=1.0)
    point = milestone(40, settings)
    assert point.branch == 0
    rates = [rate_multiplier(p, settings, point) for p in range(0, 40, 4)]
    assert rates == pytest.approx(np.linspace(1, 0.1, 10))


def test_rates_warm_up_hold_and_decay_to_zero():
    point = MILESTONES[2]
    assert rate_multiplier(0, SETTINGS, None) == 0.5
    assert rate_multiplier(40, SETTINGS, None) == 1.0
    assert rate_multiplier(point.branch, SETTINGS, point) == 1.0
    assert rate_multiplier(point.end, SETTINGS, point) == 0.0


def test_divergence_names_the_run(text, tmp_path):
    settings = Settings(
        learning_rate=float("inf"), base_width=8, batch=4, warmup=0, decay_fraction=0.25
    )
    with pytest.raises(Diverged, match="test: loss is"):
        run(text, tmp_path, settings=settings)


@pytest.mark.parametrize("save_every_s", [0.0, 1e9])
def test_divergence_is_found_before_anything_is_saved_or_measured(text, tmp_path, save_every_s):
    """However many steps losses wait to be looked at."""
    settings = replace(SETTINGS, learning_rate=float("inf"))
    task = Task("test", mixture_of(text)[0], settings, MILESTONES, save_every_s=save_every_s)
    task = replace(task, look_every=1000)
    trajectory, state = Trajectory(), StateFolder(tmp_path, "f")
    with pytest.raises(Diverged, match="test: loss is nan after 64 tokens"):
        next(train(task, start_module(SHAPE, 0), trajectory, state))
    saved = state.load()
    assert saved is None or saved[1]["position"] == 4, "the step before, whose loss is finite"


def test_batches_prepared_ahead_change_nothing(text, tmp_path, monkeypatch):
    expected, curve, model, steps = run(text, tmp_path / "plain")
    monkeypatch.setattr(engine, "Feed", lambda mixture, device: Feed(mixture, device, ahead=True))
    found, its_curve, ahead, its_steps = run(text, tmp_path / "ahead")
    assert (found, its_curve, its_steps) == (expected, curve, steps)
    for name, tensor in model.state("now").items():
        assert torch.equal(tensor, ahead.state("now")[name])


def test_evaluation_is_the_mean_over_all_blocks(text):
    backend = start_model(SHAPE, 0)
    blocks = {"x": BlockOrder(text, SHAPE.context, (0,)).blocks(0, 3000 // SHAPE.context)}
    alone = [backend.loss(torch.from_numpy(row[None])) for row in blocks["x"]]
    assert held_out_losses(backend, blocks)["x"] == pytest.approx(np.mean(alone), rel=1e-6)


@pytest.mark.parametrize("look_every", [1, 5])
def test_the_module_for_gpus_learns_the_same(text, tmp_path, look_every):
    expected, curve, *_ = run(text, tmp_path / "hand-written")
    backend = start_module(SHAPE, 0)
    mixture, blocks = mixture_of(text)
    task = Task("test", mixture, SETTINGS, MILESTONES, look_every=look_every)
    state = StateFolder(tmp_path / "module", "f")
    done = train_all(task, backend, state, measure=lambda: held_out_losses(backend, blocks))
    for ours, theirs in zip(done.records, expected, strict=True):
        assert ours["x"] == pytest.approx(theirs["x"], rel=1e-3)
    assert [at for at, _ in done.points] == [at for at, _ in curve]
    assert [loss for _, loss in done.points] == pytest.approx([loss for _, loss in curve], rel=1e-3)


def test_asked_to_stop_it_saves_and_goes_on_from_that_very_step(text, tmp_path):
    steps = iter([False] * 6 + [True])
    task = Task("test", mixture_of(text)[0], SETTINGS, MILESTONES, save_every_s=1e9)
    state, process = StateFolder(tmp_path, "f"), Process(stopping=lambda: next(steps))
    with pytest.raises(Interrupted, match="test: asked to stop; saved after 28 sequences"):
        train_all(task, start_model(SHAPE, 0), state, process)
    *_, left = run(text, tmp_path)
    *_, all_steps = run(text, tmp_path / "whole")
    assert left == all_steps - 7


def test_seconds_are_those_of_all_starts(text, tmp_path, monkeypatch):
    """A clock that moves a second at each reading: what a start took is in the state it saved."""
    clock = iter(range(10**6))
    monkeypatch.setattr("ptpp.training.engine.time.monotonic", lambda: float(next(clock)))
    run(text, tmp_path, stop_after=9)
    before = StateFolder(tmp_path, "f").load()[1]["seconds"]
    assert before > 9
    trajectory, backend = Trajectory(), start_model(SHAPE, 0)
    assert trajectory.total_seconds < 9
    task = Task("test", mixture_of(text)[0], SETTINGS, MILESTONES, save_every_s=1e9)
    next(train(task, backend, trajectory, StateFolder(tmp_path, "f")))
    assert trajectory.seconds == before
    assert trajectory.total_seconds > before + 1


def test_saves_take_a_twentieth_of_the_time_at_most(text, tmp_path, monkeypatch):
    """On a clock that moves by a second with every step, and with every save."""
    clock, saves = [0.0], []
    monkeypatch.setattr("ptpp.training.engine.time.monotonic", lambda: clock[0])

    class Slow(StateFolder):
        def save(self, *_):
            saves.append(clock[0])
            clock[0] += 1

    mixture, _ = mixture_of(text)
    batch = mixture.batch

    def slow(start, stop):
        clock[0] += 1
        return batch(start, stop)

    mixture.batch = slow
    task = Task("test", mixture, SETTINGS, MILESTONES, save_every_s=0.5)
    train_all(task, start_model(SHAPE, 0), Slow(tmp_path, "f"))
    assert saves == [1.0, 23.0], "the second more than 20 s after the first ended"


def test_a_damaged_save_costs_one_save_interval(text, tmp_path):
    run(text, tmp_path, stop_after=9)  # saved after every step
    path = StateFolder(tmp_path, "f").path
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    records, *_, left = run(text, tmp_path)
    expected, *_, all_steps = run(text, tmp_path / "fresh")
    assert records == expected
    assert left == all_steps - 8


@dataclass(frozen=True)
class Together(Group):
    """One process of several that a test plays one after another, the main one last."""

    number: int = 0

    def any(self, *flags):
        return flags

    def least(self, number):
        return self.number


def save_rows(folder, tensors, processes, number):
    """As processes on two nodes do; only those of the first write rows."""
    for rank in reversed(range(2 * processes)):
        group = Together(rank, 2 * processes, 2, number)
        place = rank % processes
        rows = {}
        for name, tensor in tensors.items():
            most = -(-len(tensor) // processes)
            rows[name] = tensor[place * most : (place + 1) * most]
        StateFolder(folder, "f", group).save({"steps": torch.tensor(3.0)}, {"at": number}, rows)


def test_rows_that_processes_saved_are_read_by_any_number_of_them(tmp_path):
    tensors = {"w": torch.arange(21.0).view(7, 3), "b": torch.arange(2.0)}
    for number in (1, 2, 3):
        save_rows(tmp_path, tensors | {"w": number * tensors["w"]}, 3, number)
    folders = sorted(path.name for path in tmp_path.glob("rows.*"))
    assert folders == ["rows.2", "rows.3"], "of the last save and the one before"
    assert len(list(tmp_path.glob("rows.3/*"))) == 3
    read, meta = StateFolder(tmp_path, "f").load()
    assert meta["at"] == 3 and read["steps"] == 3
    assert torch.equal(read["w"], 3 * tensors["w"]) and torch.equal(read["b"], tensors["b"])
    for rank in (0, 1):
        read, _ = StateFolder(tmp_path, "f", Together(rank, 2)).load()
        mine = slice(4 * rank, 4 * rank + 4)
        assert torch.equal(read["w"][mine], 3 * tensors["w"][mine]) and read["steps"] == 3
        assert torch.equal(read["b"][2:2], tensors["b"][2:2])


def test_damaged_rows_cost_one_save_interval(tmp_path):
    tensors = {"w": torch.arange(21.0).view(7, 3)}
    for number in (1, 2):
        save_rows(tmp_path, tensors, 3, number)
    path = tmp_path / "rows.2" / "1.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert StateFolder(tmp_path, "f").load()[1]["at"] == 1
    path.write_bytes((tmp_path / "rows.1" / "1.safetensors").read_bytes())
    assert StateFolder(tmp_path, "f").load()[1]["at"] == 1, "the rows of another save"
    path.unlink()
    assert StateFolder(tmp_path, "f").load()[1]["at"] == 1
    (tmp_path / "rows.1" / "2.safetensors").unlink()
    assert StateFolder(tmp_path, "f").load() is None


def test_what_will_be_trained_is_known_before(text, tmp_path):
    *_, steps = run(text, tmp_path)
    sequences = sequences_trained(MILESTONES)
    assert sequences == MILESTONES[-1].branch + sum(m.end - m.branch for m in MILESTONES)
    assert steps >= sequences / SETTINGS.batch


def test_a_second_process_on_the_same_state_is_turned_away(tmp_path):
    folder = StateFolder(tmp_path / "state", "f")
    with (
        folder.lock(),
        pytest.raises(ValueError, match="another process"),
        StateFolder(tmp_path / "state", "f").lock(),
    ):
        pass
