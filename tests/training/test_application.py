"""A plan carried out by a training job: what it measures, keeps and refuses."""

import csv
import logging
import shutil
from dataclasses import replace

import pytest
import torch
from own_models import save_gpt2, save_llama
from training_driver import Jobs, build_stores, torch_of_a_job

from ptpp.errors import InputError, Interrupted
from ptpp.models.checkpoint import check_digests
from ptpp.models.huggingface import open_module
from ptpp.training.schedule import Settings


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with torch_of_a_job():
        yield


@pytest.fixture
def work(tmp_path, whole):
    """Jobs of a model that is pre-trained; they save after every step."""
    shutil.copytree(whole.folder, tmp_path / "work")
    return Jobs(tmp_path / "work", whole.stores)


def rows(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def applied(jobs):
    """What an application left, by name, without what it took."""
    folder = jobs.folder / "applied"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): f.read_bytes() for f in files if f.name != "cost.csv"}


def test_at_a_cell_of_the_sweep_it_measures_what_the_sweep_did(work):
    work.apply(0.5, 1.0)
    sweep = [r for r in rows(work.observations) if (r["replay"], r["atpp"]) == ("0.5", "1.0")]
    ours = rows(work.folder / "applied" / "observations.csv")
    assert [r | {"run": ""} for r in ours] == [r | {"run": ""} for r in sweep]
    assert {r["run"] for r in ours} == {"w8.ptpp2.plan.replay0.5.atpp1"}
    before = rows(work.folder / "applied" / "zero_shot.csv")
    assert before == rows(work.zero_shot(2.0))


def test_the_model_it_saves_has_the_losses_it_measured(work):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ptpp.training.data import Text

    work.apply(0.25, 0.7)
    folder = work.folder / "applied" / "checkpoint"
    check_digests(folder)
    assert AutoTokenizer.from_pretrained(folder).vocab_size == 300
    model = AutoModelForCausalLM.from_pretrained(folder)
    blocks = Text.open(**work.application(0.25, 0.7).text).evaluation(32)
    for row in rows(work.folder / "applied" / "observations.csv"):
        tokens = torch.from_numpy(blocks[row["domain"]])
        with torch.no_grad():
            logits = model(tokens[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        assert loss.item() == pytest.approx(float(row["loss"]), rel=1e-5)


def test_stopped_it_goes_on_to_the_same_bytes(work, caplog):
    work.apply(0.25, 1.0)
    expected = applied(work)
    shutil.rmtree(work.folder / "applied")
    shutil.rmtree(work.finished / "apply")
    count = iter(range(1, 100))
    with pytest.raises(Interrupted, match="saved after 12 sequences"):
        work.apply(0.25, 1.0, stopping=lambda: next(count) == 3)
    assert not (work.folder / "applied").exists()
    with caplog.at_level(logging.INFO, logger="ptpp"):
        work.apply(0.25, 1.0)
    assert "goes on from its saved state (12 sequences)" in caplog.text
    assert applied(work) == expected
    assert not (work.folder / ".state" / "apply").exists()


def test_a_finished_one_is_put_back_and_another_plan_is_not(work, caplog):
    work.apply(0.25, 1.0)
    expected = applied(work)
    shutil.rmtree(work.folder / "applied")
    with caplog.at_level(logging.INFO, logger="ptpp"):
        work.apply(0.25, 1.0)
        assert "adapted before" in caplog.text and applied(work) == expected
        caplog.clear()
        work.apply(0.25, 0.5)
    assert "adapted before" not in caplog.text
    assert applied(work) != expected


def test_other_text_than_the_checkpoint_s_is_refused(work, tmp_path):
    (tmp_path / "other").mkdir()
    shutil.copytree(work.stores / "tokenizer", tmp_path / "other" / "tokenizer")
    other = replace(work, stores=build_stores(tmp_path / "other", seed=1))
    with pytest.raises(InputError, match="measured on other text than the token stores hold"):
        other.apply(0.25, 1.0)


@pytest.mark.parametrize("save", [save_gpt2, save_llama])
def test_a_model_from_elsewhere_is_saved_so_that_it_loads_again(tmp_path, llama_directory, save):
    source = save(tmp_path / "source", tokenizer=llama_directory)
    backend = open_module(source, None, 16)
    tokens = torch.randint(0, 600, (4, 17), generator=torch.Generator().manual_seed(0))
    before = backend.loss(tokens)
    backend.gradients(tokens)
    backend.step(Settings(0.01, 1, batch=4, warmup=0, decay_fraction=1.0), 1.0)
    backend.save(tmp_path / "adapted", llama_directory, {"valid": {}})
    again = open_module(tmp_path / "adapted", None, 16)
    assert again.loss(tokens) == pytest.approx(backend.loss(tokens), abs=1e-6)
    assert abs(again.loss(tokens) - before) > 1e-3
    assert (tmp_path / "adapted" / "tokenizer.json").exists()
