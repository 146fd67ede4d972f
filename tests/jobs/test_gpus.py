"""Jobs of one node have distinct GPUs, share one on request and wait when all are taken.

There are no GPUs here: a counterfeit `nvidia-smi` lists some, and real processes take them.
"""

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from ptpp.errors import InputError
from ptpp.jobs import gpus
from ptpp.jobs.gpus import Gpu, Holder, choose_gpus, parse_list, restrict_gpus, visible_gpus

NAMES = [f"GPU-{letter * 4}" for letter in "abcd"]
WITH_PARTS = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aaaa)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-bbbb)
  MIG 3g.20gb     Device  0: (UUID: MIG-1111)
  MIG 3g.20gb     Device  1: (UUID: MIG-2222)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-cccc)
"""
JOB = """\
import subprocess, sys
from pathlib import Path
from ptpp.jobs import gpus
from ptpp.jobs.job import catch_stop, run_job
folder, wanted, share = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
with run_job(sys.argv[4]), catch_stop() as stopping:
    with gpus.assign_gpus("auto", wanted, share, stopping, sys.argv[4], folder):
        subprocess.run(["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"])
        sys.stdin.read()
"""


def listing(count):
    return "".join(f"GPU {k}: NVIDIA H100 (UUID: {NAMES[k]})\n" for k in range(count))


class Node:
    """A machine with counterfeit GPUs, and jobs on it that hold theirs until they are released."""

    def __init__(self, folder, text):
        self.folder = folder
        self.started = []
        self.environment = os.environ | {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        program = folder / "nvidia-smi"
        program.write_text(f"#!/bin/sh\ncat <<'END'\n{text}END\n")
        program.chmod(0o755)

    def start(self, wanted=1, share=1, visible=None):
        log = self.folder / f"job{len(self.started)}.log"
        environment = dict(self.environment)
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        if visible is not None:
            environment["CUDA_VISIBLE_DEVICES"] = visible
        job = subprocess.Popen(
            [sys.executable, "-c", JOB, *map(str, (self.folder / "places", wanted, share, log))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        job.log = log
        self.started.append(job)
        return job

    def end(self):
        for job in self.started:
            job.kill()
            job.wait()
            job.stdin.close()
            job.stdout.close()


@pytest.fixture
def node(tmp_path, request):
    node = Node(tmp_path, getattr(request, "param", listing(2)))
    yield node
    node.end()


def has(job, seconds=60):
    """The GPUs that a child process of a job sees, waited for."""
    ready, _, _ = select.select([job.stdout], [], [], seconds)
    assert ready, job.log.read_text()
    return job.stdout.readline().strip().split(",")


def waits(job):
    """The log of a job once it says that it waits."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if "waits for" in job.log.read_text():
                return job.log.read_text()
        time.sleep(0.02)
    raise AssertionError("does not wait")


def release(job):
    job.stdin.close()
    assert job.wait(60) == 0


def test_jobs_of_one_node_see_distinct_gpus_and_a_third_waits_for_the_first_free(node):
    first, second = node.start(), node.start()
    taken = has(first) + has(second)
    assert sorted(taken) == NAMES[:2]
    third = node.start()
    said = waits(third)
    for job in (first, second):
        assert f"process {job.pid} ({job.log})" in said
    release(second)
    assert has(third) == [taken[1]]
    assert third.log.read_text().count("waits") == 1


def test_places_of_a_killed_job_are_free_at_once(node):
    jobs = {job.stdout: job for job in (node.start() for _ in range(3))}
    taken = {}
    while len(taken) < 2:  # all three may wait a moment at the door of the queue
        ready, _, _ = select.select([out for out in jobs if out not in taken], [], [], 60)
        assert ready
        taken |= {out: has(jobs[out]) for out in ready}
    (last,) = set(jobs) - set(taken)
    waits(jobs[last])
    killed = next(iter(taken))
    jobs[killed].kill()
    assert has(jobs[last]) == taken[killed]


def test_small_jobs_share_gpus_on_request_the_emptiest_first(node):
    jobs = [node.start(share=2) for _ in range(4)]
    seen = [has(job) for job in jobs]
    assert sorted(seen) == [[NAMES[0]], [NAMES[0]], [NAMES[1]], [NAMES[1]]]
    waiting = node.start(share=2)
    waits(waiting)
    release(jobs[2])
    assert has(waiting) == seen[2]


def test_a_job_that_shares_with_nobody_keeps_others_out(node):
    alone = node.start(share=1)
    (mine,) = has(alone)
    others = [node.start(share=3) for _ in range(3)]
    assert all(has(job) != [mine] for job in others)
    waits(node.start(share=3))


@pytest.mark.parametrize("node", [listing(3)], indirect=True)
def test_a_job_of_several_gpus_has_all_of_each(node):
    several = node.start(wanted=2, share=4)
    assert has(several) == NAMES[:2]
    shared = [node.start(share=2) for _ in range(2)]
    assert [has(job) for job in shared] == [[NAMES[2]]] * 2
    waits(node.start(share=2))


@pytest.mark.parametrize("node", [listing(3)], indirect=True)
def test_jobs_of_several_gpus_never_hold_some_while_they_wait_for_others(node):
    """Three GPUs, and two for each of four jobs: no job could go on if waiting ones held some."""
    jobs = [node.start(wanted=2) for _ in range(4)]
    left = list(jobs)
    while left:
        running, _, _ = select.select([job.stdout for job in left], [], [], 60)
        assert len(running) == 1
        (job,) = [job for job in left if job.stdout in running]
        assert len(set(has(job))) == 2
        release(job)
        left.remove(job)


def test_jobs_of_one_gpu_do_not_overtake_a_waiting_job_of_two(node):
    first, second = node.start(), node.start()
    has(first), has(second)
    both = node.start(wanted=2)
    waits(both)
    late = node.start()
    assert f"process {both.pid}" in waits(late)
    release(first)
    release(second)
    assert has(both) == NAMES[:2]
    release(both)
    has(late)


def test_a_stop_ends_the_wait_and_gives_the_place_in_the_queue_free(node):
    first, second = node.start(), node.start()
    has(first), has(second)
    stopped = node.start()
    waits(stopped)
    behind = node.start()
    waits(behind)
    stopped.send_signal(signal.SIGTERM)
    assert stopped.wait(60) == 1
    assert "stopped: asked to stop while waiting for a GPU" in stopped.log.read_text()
    release(first)
    has(behind)


@pytest.mark.parametrize("node", [listing(4)], indirect=True)
def test_only_gpus_that_the_job_was_given_are_taken(node):
    """As a batch system gives them, by index or name; the locks are on the cards themselves."""
    assert has(node.start(visible="3")) == [NAMES[3]]
    assert has(node.start(visible="GPU-cc,3")) == [NAMES[2]]
    assert has(node.start(wanted=2)) == NAMES[:2]
    waits(node.start(visible="2"))


def test_too_many_gpus_are_refused_in_one_line(node):
    job = node.start(wanted=3)
    assert job.wait(60) == 1
    line = "models.sizes: devices: 3 GPUs are asked for, but 2 whole ones are visible here"
    assert line in job.log.read_text()


@pytest.mark.parametrize("node", [WITH_PARTS], indirect=True)
def test_parts_of_a_card_are_gpus_of_their_own_for_jobs_of_one(node):
    jobs = [node.start() for _ in range(4)]
    assert {has(job)[0] for job in jobs} == {"GPU-aaaa", "GPU-cccc", "MIG-1111", "MIG-2222"}
    for job in jobs:
        release(job)
    assert has(node.start(wanted=2)) == ["GPU-aaaa", "GPU-cccc"]


@pytest.mark.parametrize(
    "restriction,names",
    [
        (None, ["GPU-aaaa", "MIG-1111", "MIG-2222", "GPU-cccc"]),
        ("2,0", ["GPU-cccc", "GPU-aaaa"]),
        ("1", ["MIG-1111", "MIG-2222"]),
        ("GPU-bb", ["MIG-1111", "MIG-2222"]),
        ("MIG-2", ["MIG-2222"]),
        ("GPU-c, MIG-1", ["GPU-cccc", "MIG-1111"]),
        ("0,7,2", ["GPU-aaaa"]),
        ("0,-1,2", ["GPU-aaaa"]),
        ("GPU-", []),
        ("MIG-", []),
        ("", []),
        ("NoDevFiles", []),
    ],
)
def test_a_restriction_is_read_as_cuda_reads_it(restriction, names):
    allowed = restrict_gpus(parse_list(WITH_PARTS), restriction)
    assert [gpu.name for gpu in allowed] == names


def test_without_nvidia_smi_the_indices_that_torch_counts_are_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpus, "_torch_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [gpu.name for gpu in visible_gpus()] == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, 3")
    assert [gpu.name for gpu in visible_gpus()] == ["5", "3"]
    with gpus.assign_gpus("cuda", 1, 1, folder=tmp_path / "places") as names:
        assert (names, os.environ["CUDA_VISIBLE_DEVICES"]) == (("5",), "5")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5, 3"


def test_on_a_cpu_and_without_gpus_nothing_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(gpus, "_torch_count", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for device in ("auto", "cuda"):
        with gpus.assign_gpus(device, 2, 1, folder=tmp_path / "places") as names:
            assert names == ()
    monkeypatch.setattr(gpus, "_torch_count", lambda: 8)
    with gpus.assign_gpus("cpu", 2, 1, folder=tmp_path / "places") as names:
        assert names == ()
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert not (tmp_path / "places").exists()


def test_a_folder_of_somebody_else_is_not_trusted(tmp_path, monkeypatch):
    monkeypatch.setattr(gpus, "_nvidia_smi", lambda: listing(1))
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with pytest.raises(InputError, match="belongs to somebody else"):
        gpus.assign_gpus("auto", 1, 1, folder=tmp_path / "link").__enter__()


@given(
    present=st.lists(st.lists(st.booleans(), max_size=3), min_size=1, max_size=4),
    wanted=st.integers(1, 4),
    share=st.integers(1, 4),
)
def test_a_choice_is_all_or_nothing_and_leaves_no_emptier_gpu(present, wanted, share):
    cards = [Gpu(name, name, k) for k, name in enumerate(NAMES)]
    holders = {
        gpu: [Holder(1, "", alone) for alone in each]
        for gpu, each in zip(cards, present, strict=False)
    }
    chosen = choose_gpus(holders, wanted, share)
    room = [gpu for gpu in holders if len(holders[gpu]) < share]
    room = [gpu for gpu in room if not any(each.alone for each in holders[gpu])]
    assert len(set(chosen)) == (wanted if wanted <= len(room) else 0)
    assert set(chosen) <= set(room)
    for gpu in chosen:
        assert all(len(holders[gpu]) <= len(holders[other]) for other in set(room) - set(chosen))


def test_a_gpu_s_uuid_is_what_nvidia_smi_prints():
    real = "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-3b1f0c4e-2f0a-8d1e-9a58-0d4f6f6d8c11)\n"
    (gpu,) = parse_list(real)
    assert re.fullmatch(r"GPU-[0-9a-f-]{36}", gpu.name) and gpu.index == 0
