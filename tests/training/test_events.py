"""TensorBoard event files, read back as TensorBoard reads them."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ptpp.jobs.progress import NO_WATCH, Watch
from ptpp.models.backend import start_model
from ptpp.models.sizes import Shape
from ptpp.training.data import BlockOrder, Mixture
from ptpp.training.engine import Task, Trajectory, rate_multiplier, train
from ptpp.training.job import Process
from ptpp.training.measurement import held_out_losses
from ptpp.training.schedule import Milestone, Settings
from ptpp.training.state import StateFolder

SHAPE = Shape(width=8, depth=1, heads=1, context=8, vocab_size=32)
SETTINGS = Settings(
    learning_rate=0.02, base_width=8, batch=4, warmup=8, decay_fraction=0.5, clip=1.0
)
ENDS = (60, 80)  # sequences; the first decay ends after the second has begun
MILESTONES = [
    Milestone.at(end * SHAPE.context / SHAPE.n_params, SHAPE.n_params, SHAPE.context, SETTINGS)
    for end in ENDS
]
DECAYS = [f"decay{one.budget:g}" for one in MILESTONES]


def run(folder, events, stop_after=None):
    """Train; `stop_after` steps an exception stands in for a kill. Returns records and weights."""
    torch.set_num_threads(1)
    tokens = (np.arange(3000) % 32).astype(np.uint16)
    backend = start_model(SHAPE, 0)
    mixture = Mixture({"x": BlockOrder(tokens, SHAPE.context, (0,))}, {"x": 1.0})
    blocks = {"x": mixture.batch(0, 16)}
    batch, steps = mixture.batch, []

    class Killed(Exception):
        pass

    def counted(start, stop):
        steps.append(start)
        if stop_after is not None and len(steps) > stop_after:
            raise Killed
        return batch(start, stop)

    mixture.batch = counted
    watch = Watch(events=events).for_run("w8.ptpp2", 0.0) if events else NO_WATCH
    task = Task("test", mixture, SETTINGS, MILESTONES, save_every_s=0.0)
    trajectory, state = Trajectory(), StateFolder(folder, "f")
    try:
        for _ in train(task, backend, trajectory, state, Process(watch=watch)):
            trajectory.records.append(held_out_losses(backend, blocks))
    except Killed:
        return None, None
    return trajectory.records, backend.state("now")


def shown(folder):
    """What TensorBoard shows of one run: tag -> {step: value}; a step shown twice is an error."""
    found = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    tags = {}
    for tag in found.Tags()["scalars"]:
        points = [(event.step, event.value) for event in found.Scalars(tag)]
        assert len(points) == len(dict(points)), f"{tag} holds a step twice"
        assert points == sorted(points)
        tags[tag] = dict(points)
    return tags


def everything_shown(folder):
    """All folders' tags, without speeds, which differ from run to run."""
    found = {}
    for name in (".", *DECAYS):
        for tag, points in shown(folder / "w8.ptpp2" / name).items():
            if tag != "tokens_per_second":
                found[name, tag] = points
            else:
                assert all(value > 0 for value in points.values())
    return found


def test_a_run_shows_its_trunk_its_decays_and_its_held_out_losses(tmp_path):
    records, _ = run(tmp_path / "state", tmp_path / "events")
    found = everything_shown(tmp_path / "events")
    branches = [one.branch * SHAPE.context for one in MILESTONES]
    ends = [one.end * SHAPE.context for one in MILESTONES]
    trunk = found[".", "loss/training"]
    assert list(trunk) == list(range(32, branches[1] + 1, 32)), "a point a step, on the trunk"
    assert trunk[branches[1]] < trunk[32]
    for decay, branch, end in zip(DECAYS, branches, ends, strict=True):
        assert list(found[decay, "loss/training"]) == list(range(branch + 32, end + 1, 32))
    losses = [record["x"] for record in records]
    assert found[".", "loss/x"] == {
        end: pytest.approx(loss) for end, loss in zip(ends, losses, strict=True)
    }
    for position, decay, milestone in ((0, ".", None), (44, DECAYS[1], MILESTONES[1])):
        rate = rate_multiplier(position, SETTINGS, milestone)
        after = (position + SETTINGS.batch) * SHAPE.context
        assert found[decay, "learning_rate_multiplier"][after] == pytest.approx(rate)


# Steps: 8 on the trunk, 8 in a decay, 2 more on the trunk, 10 in the second decay.
@pytest.mark.parametrize("stop_after", [3, 8, 12, 16, 17, 25])
def test_a_run_killed_and_resumed_shows_every_step_once(tmp_path, stop_after):
    run(tmp_path / "whole", tmp_path / "events")
    assert run(tmp_path / "cut", tmp_path / "cut_events", stop_after)[0] is None
    run(tmp_path / "cut", tmp_path / "cut_events")
    again, whole = (everything_shown(tmp_path / name) for name in ("cut_events", "events"))
    assert again == whole


def test_what_was_shown_after_the_last_save_is_dropped_and_shown_again(tmp_path):
    """The state of an early kill, under event files that reach further."""
    run(tmp_path / "early", None, stop_after=5)
    run(tmp_path / "late", tmp_path / "events", stop_after=25)
    run(tmp_path / "early", tmp_path / "events")
    run(tmp_path / "whole", tmp_path / "whole_events")
    again, whole = (everything_shown(tmp_path / name) for name in ("events", "whole_events"))
    from_the_save = 5 * SETTINGS.batch * SHAPE.context
    for key, points in whole.items():
        assert {step: again[key][step] for step in points if step > from_the_save} == {
            step: value for step, value in points.items() if step > from_the_save
        }


def test_a_run_from_scratch_replaces_what_an_earlier_one_showed(tmp_path):
    run(tmp_path / "a", tmp_path / "events", stop_after=25)
    run(tmp_path / "b", tmp_path / "events")
    run(tmp_path / "c", tmp_path / "fresh")
    assert everything_shown(tmp_path / "events") == everything_shown(tmp_path / "fresh")


def test_events_move_no_number(tmp_path):
    records, weights = run(tmp_path / "with", tmp_path / "events")
    without, plain = run(tmp_path / "without", None)
    assert records == without
    assert all(torch.equal(tensor, plain[name]) for name, tensor in weights.items())


def test_tensorboard_is_imported_only_when_asked_for():
    code = (
        "import sys, ptpp.training.pretraining, ptpp.training.adaptation;"
        "sys.exit(any(name.startswith('tensorboard') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0
