"""Decoder layers through torch.compile. Its tracing is real here, its compiler counterfeit."""

import functools
import logging
import multiprocessing
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from groups import lone_group
from small_models import BLOCKS
from small_models import gpt2 as any_gpt2
from small_models import llama as any_llama

from ptpp.models import huggingface
from ptpp.models.backend import Placement
from ptpp.models.compiling import CompiledLayers
from ptpp.models.group import Group
from ptpp.training.job import Runtime

gpt2, llama = (functools.partial(each, depth=10) for each in (any_gpt2, any_llama))


class Compiler:
    """Counts what it is given to compile; what comes out is the graph as it is, or an error."""

    def __init__(self, error=None):
        self.error, self.graphs = error, 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        if self.error:
            raise self.error
        return graph.forward


@pytest.fixture(autouse=True)
def nothing_compiled(one_thread):
    torch._dynamo.reset()


def use(monkeypatch, compiler):
    compiled = functools.partial(CompiledLayers, backend=compiler)
    monkeypatch.setattr(huggingface, "CompiledLayers", compiled)
    return compiler


@pytest.mark.parametrize("start", [gpt2, llama])
def test_layers_share_one_graph_and_only_whole_micro_batches_are_compiled(start, monkeypatch):
    compiler = use(monkeypatch, Compiler())
    eager, compiled = (
        start(Placement(micro_batch=2)),
        start(Placement(micro_batch=2, compiles=True)),
    )
    assert eager.compiled is None, "not by default on a CPU"
    assert compiled.loss(BLOCKS) == eager.loss(BLOCKS)
    assert compiler.graphs == 0, "nothing that is measured is compiled"
    for _ in range(2):  # 2, 2 and 1 sequences
        assert compiled.gradients(BLOCKS).item() == eager.gradients(BLOCKS).item()
    assert compiler.graphs == 1
    for name, parameter in eager.parameters.items():
        assert torch.equal(parameter.grad, compiled.parameters[name].grad)


@pytest.mark.parametrize("shares", [False, True])
def test_where_compiling_fails_it_says_so_once_and_goes_on_without(shares, monkeypatch, caplog):
    caplog.set_level(logging.WARNING, "ptpp")
    compiler = use(monkeypatch, Compiler(RuntimeError("no C compiler\nat all")))
    expected = gpt2(Placement()).gradients(BLOCKS).item()
    with lone_group() as lone:
        group = {"group": lone} if shares else {}
        backend = gpt2(Placement(micro_batch=2, compiles=True, **group))
        for _ in range(2):
            assert backend.gradients(BLOCKS).item() == pytest.approx(expected, rel=1e-6)
    assert compiler.graphs == 1, "it does not try again what failed"
    (line,) = [each.getMessage() for each in caplog.records if each.name == "ptpp"]
    assert line.startswith("torch.compile failed (BackendCompilerFailed: ")
    assert "RuntimeError: no C compiler at all" in line
    assert line.endswith("): goes on without; compile: false leaves it out")


def train_one_of_two(rank, place, results):
    """A process of a group of two in which torch.compile fails in the second alone."""
    torch.set_num_threads(1)
    store = dist.FileStore(str(place), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=LONGEST)
    said = []
    logging.getLogger("ptpp").warning = lambda text, *values: said.append(text % values)
    compiler = Compiler(RuntimeError("no C compiler") if rank else None)
    huggingface.CompiledLayers = functools.partial(CompiledLayers, backend=compiler)
    group = Group(rank, 2)
    asked = []
    group_any = Group.any
    Group.any = lambda self, *flags: asked.append(flags) or group_any(self, *flags)
    try:
        for start in (any_gpt2, any_llama):
            torch._dynamo.reset()
            compiler.graphs = 0
            backend = start(Placement(compiles=True, group=group), depth=3)
            losses = [backend.gradients(BLOCKS).item() for _ in range(3)]
            gradients = [each.grad.full_tensor().numpy() for each in backend.parameters.values()]
            results.put((rank, losses, gradients, compiler.graphs, said[:], asked[:]))
            said.clear(), asked.clear()
    except Exception as error:
        results.put((rank, repr(error)))
        raise
    finally:
        dist.destroy_process_group()


LONGEST = timedelta(seconds=120)  # that a process waits for one that does not come


def test_where_compiling_fails_in_one_process_all_go_on_without(tmp_path):
    fork = multiprocessing.get_context("fork")  # spares two imports of torch
    results = fork.Queue()
    group = [
        fork.Process(target=train_one_of_two, args=(rank, tmp_path / "store", results))
        for rank in range(2)
    ]
    for process in group:
        process.start()
    found = sorted([results.get(timeout=300) for _ in range(4)], key=lambda result: result[0])
    for process in group:
        process.join(60)
        assert process.exitcode == 0
    for start, first, second in zip((any_gpt2, any_llama), found[:2], found[2:], strict=True):
        alone = start(Placement(), depth=3)
        expected = alone.gradients(BLOCKS).item()
        for _, losses, gradients, graphs, said, asked in (first, second):
            assert losses == pytest.approx([expected] * 3, abs=1e-5)
            for gradient, parameter in zip(gradients, alone.parameters.values(), strict=True):
                torch.testing.assert_close(torch.from_numpy(gradient), parameter.grad)
            assert graphs == 1, "alike layers share one, and what failed is not tried again"
            (line,) = said  # of which the log of a job has the first process's
            assert line.startswith("torch.compile failed (BackendCompilerFailed: ")
            assert "RuntimeError: no C compiler" in line
            assert len(asked) == 1, "once, and not in every step"


def test_an_error_that_has_nothing_to_do_with_it_is_raised(monkeypatch):
    use(monkeypatch, Compiler())
    backend = gpt2(Placement(compiles=True))
    backend.gradients(BLOCKS)

    def fail(module, arguments):
        raise ZeroDivisionError("something else")

    backend.losses.register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError):
        backend.gradients(BLOCKS)
    first = gpt2(Placement(compiles=True))
    first.losses.register_forward_pre_hook(fail)
    with pytest.raises(ZeroDivisionError):
        first.gradients(BLOCKS)


@pytest.mark.parametrize("text,value", [("auto", None), ("true", True), ("false", False)])
def test_a_job_is_told_by_a_resource(text, value, tmp_path):
    class Resources(dict):  # as Snakemake's: names, and get
        devices, jobs_per_gpu, save_every, tensorboard, compile = 1, 1, 30, 0, text

    assert Runtime.of_rule(1, Resources(), tmp_path).compiles is value
