"""Training killed at any moment and started again ends in the same files, byte for byte.

The long version (more kills):  pytest -m long tests/training/test_kill.py
"""

import random
import re
import signal
import time
from collections import Counter

import pytest
from training_driver import BATCH, MOMENTS, Child, Jobs


@pytest.fixture(scope="module")
def uninterrupted(whole):
    """The files of a run that nobody disturbs."""
    return whole.results()


WHAT = {"pre-training", "CPT"}
WHERE = {"trunk", "branch", "save"}


def killed_until_it_ends(work, rng, aims):
    """Kill `work` and start it again until it ends; returns what each kill hit, as (what, where).

    A kill waits for training to begin, or for one of `aims`, and then for a random time. What it
    hit is read from the dead process's own last note.
    """
    hits = []
    while True:
        child = Child(work)
        aim = rng.choice([None, *aims])
        while child.running and not (child.doing if aim is None else child.doing == aim):
            time.sleep(0.0002)
        if aim != "save":  # saves are short
            time.sleep(rng.uniform(0, 0.06))
        child.signal(signal.SIGKILL)
        if child.end() == 0:
            return hits
        assert child.process.exitcode == -signal.SIGKILL, child.said()
        adapting = work.done(work.stages[-1]).exists()
        hits.append(("CPT" if adapting else "pre-training", child.doing))


def killed_at_random(folder, stores, uninterrupted, kills, seed):
    rng, hits, rounds = random.Random(seed), Counter(), 0
    while (
        hits.total() < kills
        or not all(any(hits[what, where] for where in WHERE) for what in WHAT)
        or not all(any(hits[what, where] for what in WHAT) for where in WHERE)
    ):
        assert rounds < 40, f"after {rounds} rounds kills landed only in {dict(hits)}"
        work = Jobs(folder / str(rounds), stores)
        work.folder.mkdir()
        missing = [where for where in sorted(WHERE) if not any(hits[w, where] for w in WHAT)]
        hits.update(killed_until_it_ends(work, rng, missing))
        assert work.results() == uninterrupted
        rounds += 1
    print(f"{hits.total()} kills in {rounds} rounds:", dict(hits))


def test_killed_at_random_moments_it_ends_in_the_same_files(
    tmp_path, training_stores, uninterrupted
):
    killed_at_random(tmp_path, training_stores, uninterrupted, kills=3, seed=0)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
def test_killed_at_many_random_moments_it_ends_in_the_same_files(
    tmp_path, training_stores, uninterrupted, seed
):
    killed_at_random(tmp_path, training_stores, uninterrupted, kills=30, seed=seed)


def resumed_at(said):
    """The position (sequences) from which each job of a log went on."""
    return [int(n) for n in re.findall(r"saved state \((\d+) sequences\)", said)]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_kill_at_any_point_of_a_save_costs_that_save_and_no_more(
    tmp_path, training_stores, uninterrupted, moment
):
    """Every step saves, so the ninth save holds nine batches and the eighth eight."""
    work = Jobs(tmp_path, training_stores)
    child = Child(work, dies_at=(moment, 9))
    assert child.end() == -signal.SIGKILL
    again = Child(work)
    assert again.end() == 0, again.said()
    assert resumed_at(again.said()) == [(9 if moment == "in place" else 8) * BATCH]
    assert work.results() == uninterrupted
    assert not list(work.folder.rglob(".*.????????*")), "nothing half-written is left"


def test_killed_before_each_file_takes_its_place_it_ends_in_the_same_files(
    tmp_path, training_stores, uninterrupted
):
    """Nothing is saved between, so that the only files renamed are results."""
    work = Jobs(tmp_path, training_stores, save_every_s=1e9)
    for place in range(1, 40):
        child = Child(work, dies_at=("rename", place))
        if child.end() == 0:
            break
        assert child.process.exitcode == -signal.SIGKILL, child.said()
        for path in (tmp_path / "checkpoints").glob("ptpp*"):
            assert (path / "sha256.json").exists(), "a checkpoint is whole or absent"
    assert place >= 4
    assert work.results() == uninterrupted
