"""`ptpp apply`: a plan carried out without the workflow."""

import csv
import json
import lzma
import re

import pandas as pd
import pytest
from commands import call
from laws_grid import observations
from own_models import save_llama
from training_driver import ALPHABETS, texts_of, torch_of_a_job

from ptpp.cli import apply as command
from ptpp.errors import Interrupted
from ptpp.table.observations import read_observations, write_observations

N = 3544  # of the tiny model whose jobs are `whole`
QUICK = ["--starts", "2", "--bootstrap", "5", "--no-krige"]
BASE = ["--base", "en=1", "--base", "ar=1"]
OPTIMISER = ["--learning-rate", "0.01", "--batch-tokens", "128"]
OPTIMISER += ["--decay-fraction", "0.3", "--warmup", "0.2"]


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with torch_of_a_job():
        yield


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("apply") / "table.csv"
    write_observations(observations(noise=0.01), path)
    return path


def write_plan(path, n_params=N, **changes):
    row = {"law": "dcpt", "protocol": "all_rows", "kind": "robust", "n_params": n_params}
    row |= {"ptpp": 2.0, "replay": 0.5, "atpp": 1.0, "feasible": True, "target_loss_limit": 9.0}
    row |= {"forgetting_en_limit": 0.5} | changes
    pd.DataFrame([row]).to_csv(path, index=False)
    return path


def run(capsys, *arguments):
    """Exit code, printed text and error text."""
    return call(capsys, "apply", *arguments, *BASE, *QUICK, "--target", "fr")


@pytest.fixture
def given(tmp_path, table, whole):
    """Arguments for the cell of replay .5 and ATPP 1, and the folder they write to."""
    plan, out = write_plan(tmp_path / "plan.csv"), tmp_path / "out"
    checkpoint = ["--checkpoint", whole.checkpoint(2.0), "--tokens", whole.stores]
    return [plan, table, *checkpoint, *OPTIMISER, "--out", out], out


def test_it_adapts_saves_and_compares_and_a_second_time_trains_nothing(given, whole, capsys):
    arguments, out = given
    code, text, err = run(capsys, *arguments)
    assert code == 0, err
    measured = pd.read_csv(out / "observations.csv").set_index("domain").loss
    sweep = pd.read_csv(whole.observations).query("replay == 0.5 and atpp == 1")
    assert measured.to_dict() == sweep.set_index("domain").loss.to_dict(), "to the bit"
    compared = pd.read_csv(out / "comparison.csv").set_index("domain")
    assert compared.measured.to_dict() == measured.to_dict()
    assert list(compared.index) == ["fr", "en", "ar"] and compared.limit["fr"] == 9
    before = pd.read_csv(out / "zero_shot.csv").set_index("domain").loss
    assert compared.limit["en"] == pytest.approx(before["en"] + 0.5)
    ends = compared.lower < compared.predicted, compared.predicted < compared.upper
    assert all(each.all() for each in ends)
    assert "adapted as the robust plan by dcpt has it (replay 50 %, 1 tokens per" in text
    joined = read_observations(out / "table.csv")
    assert len(joined) == len(read_observations(arguments[1])) + 6
    assert f"ptpp plan {out / 'table.csv'} --target fr --n-params 3544 --ptpp 2" in text
    card = (out / "checkpoint" / "README.md").read_text()
    digest = json.loads((out / "applied.json").read_text())["checkpoint"]
    assert digest in card and f"{measured['fr']:.4f}" in card and "0.01 at width 8" in card

    code, again, err = run(capsys, *arguments, "--json")
    told = json.loads(again)
    assert code == 0 and told["plan"]["replay"] == 0.5
    assert {row["domain"]: row["measured"] for row in told["comparison"]} == measured.to_dict()
    assert "adapted before" in err and "tokens/s" not in err


def test_a_folder_that_is_not_its_own_stays_as_it_is(given, capsys):
    arguments, out = given
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    code, _, err = run(capsys, *arguments)
    assert code == 2 and f"error: {out}: exists, and not by this command" in err
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]
    (out / "thesis.tex").rename(out / "applied.json")
    code, _, err = run(capsys, *arguments)
    assert code == 2 and f"error: {out}: holds another plan, checkpoint or settings" in err
    assert (out / "applied.json").read_text() == "mine"


@pytest.mark.parametrize(
    "change,message",
    [
        ({"n_params": 5000}, "no feasible plan by dcpt for the 3,544 parameters of"),
        ({"feasible": False}, "no feasible plan by dcpt for the 3,544 parameters of"),
        ({"replay": 1.5}, "accepted are replay from 0 to 1"),
        ({"atpp": "many"}, "column atpp: accepted are finite numbers"),
    ],
)
def test_a_plan_for_nothing_here_is_refused_in_one_line(given, change, message, capsys):
    arguments, out = given
    write_plan(arguments[0], **change)
    code, _, err = run(capsys, *arguments)
    assert code == 2 and message in err and err.count("\n") == 1
    assert not out.exists()


def test_text_that_is_not_there_is_named_and_nothing_is_written(given, tmp_path, capsys):
    arguments, out = given
    place = arguments.index("--tokens") + 1
    arguments[place] = tmp_path / "none"
    code, _, err = run(capsys, *arguments)
    assert code == 2 and f"error: {tmp_path / 'none' / 'fr.train.json'}: no such file" in err
    arguments[place - 1] = "--text"
    code, _, err = run(capsys, *arguments)
    assert code == 2 and f"error: {tmp_path / 'none'}: no fr.train.jsonl and fr.valid.jsonl" in err
    assert not out.exists()


def test_stopped_it_says_how_to_go_on(given, monkeypatch, capsys):
    def stop(*_):
        raise Interrupted("w8: asked to stop; saved after 12 sequences")

    monkeypatch.setattr("ptpp.training.run.launch_job", stop)
    code, _, err = run(capsys, *given[0])
    assert code == 130
    assert err.endswith("saved after 12 sequences; the same command goes on from there\n")


def test_a_pareto_front_and_a_law_that_has_no_plan_are_refused(given, capsys):
    arguments, _ = given
    code, _, err = run(capsys, *arguments, "--law", "state")
    assert code == 2 and "no plan by 'state'; there are dcpt" in err
    pd.read_csv(arguments[0]).drop(columns="feasible").to_csv(arguments[0], index=False)
    code, _, err = run(capsys, *arguments)
    assert code == 2 and "no column 'feasible'; accepted are plans by ptpp plan" in err


def test_without_torch_it_says_what_to_install(given, monkeypatch, capsys):
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    code, _, err = run(capsys, *given[0])
    assert code == 2 and err == "error: apply: torch is not installed: pip install 'ptpp[train]'\n"


def test_a_model_from_elsewhere_is_adapted_on_text_by_its_own_tokenizer(
    tmp_path, table, llama_directory, capsys
):
    from transformers import AutoModelForCausalLM

    source = save_llama(tmp_path / "llama", tokenizer=llama_directory)
    n_params = sum(
        each.numel() for each in AutoModelForCausalLM.from_pretrained(source).parameters()
    )
    plan = write_plan(tmp_path / "plan.csv", n_params=n_params, atpp=0.2)
    (tmp_path / "text").mkdir()
    for domain in ALPHABETS:
        for split in ("train", "valid"):
            lines = [json.dumps({"text": text}) for text in texts_of(domain, split)]
            with lzma.open(tmp_path / "text" / f"{domain}.{split}.jsonl.xz", "wt") as stream:
                stream.write("\n".join(lines))
    out = tmp_path / "out"
    arguments = [plan, table, "--checkpoint", source, "--text", tmp_path / "text", "--out", out]
    arguments += [*OPTIMISER, "--evaluation-tokens", 256]
    code, _, err = run(capsys, *arguments)
    assert code == 2 and "not a GPT-2 of ours; give --context" in err
    code, text, err = run(capsys, *arguments, "--context", 16)
    assert code == 0, err
    assert f"llama-{n_params} (seed 0) at PTPP 2, adapted" in text
    with open(out / "zero_shot.csv", newline="") as stream:
        before = {row["domain"]: float(row["loss"]) for row in csv.DictReader(stream)}
    after = pd.read_csv(out / "observations.csv").set_index("domain").loss
    assert after["fr"] < before["fr"]
    AutoModelForCausalLM.from_pretrained(out / "checkpoint")
    assert not re.search("Traceback", err)
