"""The acceptance on a GPU runs on a CPU too, at tiny sizes, and tells what fails."""

import json

import accept
import pytest
from checking import check
from training_driver import torch_of_a_job


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    with torch_of_a_job():
        yield


def records(text):
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def test_every_section_passes_in_a_dry_run(capsys):
    assert accept.main(["--device", "cpu", "--small"]) == 0
    said = capsys.readouterr().out
    found = records(said)
    assert {each["section"] for each in found} == set(accept.SECTIONS)
    assert all(each["ok"] for each in found)
    assert f"{len(found)} of {len(found)} checks passed" in said
    measured = [each for each in found if "tokens_per_s" in each]
    assert all(f"| {each['check']} | {each['tokens_per_s']:,} |" in said for each in measured)


def test_a_failed_check_is_told_and_hides_no_other(capsys):
    def wrong(setup):
        yield check("first", True)
        yield check("second", setup.on_gpu, tokens_per_s=1_234)

    def broken(setup):
        yield check("third", True)
        raise RuntimeError("no such kernel")

    def right(setup):
        yield check("last", True)

    sections = {"wrong": wrong, "broken": broken, "right": right}
    assert accept.main(["--device", "cpu"], sections) == 1
    said = capsys.readouterr().out
    assert [each["ok"] for each in records(said)] == [True, False, True, False, True]
    assert "no such kernel" in records(said)[3]["error"]
    assert "3 of 5 checks passed" in said and "| second | 1,234 | – | – | – |" in said
    assert accept.main(["--device", "cpu", "right"], sections) == 0
