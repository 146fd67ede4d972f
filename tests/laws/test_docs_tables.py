"""The tables of the docs are those of resources/results, and these what the shipped data give."""

import subprocess
import sys

import pytest
from conftest import ROOT

from ptpp.laws.experiment import score_table
from ptpp.laws.uncertainty import coverage

POINTS = 0.2  # percent: what another machine's arithmetic and fewer starts may change


@pytest.fixture(scope="module")
def tables():
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import docs_tables
    finally:
        sys.path.pop(0)
    return docs_tables


@pytest.fixture(scope="module")
def made(tables):
    """Fits of two laws to the shipped losses, without draws and with fewer starts."""
    return tables.fit_laws(["floor", "state"], starts=8)


@pytest.fixture
def pages(tables, tmp_path):
    """A copy of the pages with blocks."""
    for path in {path for path, _ in tables.BLOCKS.values()}:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text((ROOT / path).read_text())
    return tmp_path


def test_every_page_shows_what_the_files_hold():
    command = [sys.executable, ROOT / "benchmarks" / "docs_tables.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_block_of_a_page_is_written(tables):
    marker = tables.BEGIN.split("{}")[0]
    for page in (ROOT / "README.md", *ROOT.glob("docs/**/*.md")):
        path = page.relative_to(ROOT).as_posix()
        names = {name for name, (where, _) in tables.BLOCKS.items() if where == path}
        assert page.read_text().count(marker) == len(names)


def test_another_number_on_a_page_is_noticed(tables, pages):
    page = pages / "docs" / "forecasts.md"
    before, within, after = tables.split_page(page.read_text(), "anchors")
    digit = next(c for c in within if c.isdigit() and c != "9")
    begin = tables.BEGIN.format("anchors")
    page.write_text(before + begin + within.replace(digit, "9", 1) + tables.END + after)
    assert tables.find_differences(pages) == ["docs/forecasts.md, anchors"]


def test_a_block_that_a_page_lost_is_noticed(tables, pages):
    page = pages / "docs" / "forecasts.md"
    page.write_text(page.read_text().replace(tables.BEGIN.format("levels"), ""))
    assert tables.find_differences(pages) == ["docs/forecasts.md, levels"]


def test_scores_are_those_of_the_shipped_losses(tables, made):
    fits, place = made
    table = score_table(fits, place)
    assert set(table["law"]) == {"floor", "state", "last_stage"}
    for row in table.to_dict("records"):
        labels = row["law"], row["information"], row["forecast"]
        shown = tables.REAL.error(*labels)
        assert 100 * row["mae_rel"] == pytest.approx(shown, abs=POINTS), labels
        noise = pytest.approx(tables.REAL.noise(), rel=1e-4)
        assert 100 * row["noise_floor"] == noise


def test_kriged_intervals_cover_what_the_files_say(tables, made):
    fits, place = made
    for one in fits:
        cells = place.split_of(one).held_out
        forecast = one.predict(cells)
        inside = 100 * coverage(cells["loss"], forecast["low"], forecast["high"])
        level = "anchors" if one.record.protocol == "with_anchors" else "early"
        level = "zero_shot" if (one.record.law, level) == ("state", "early") else level
        assert inside == pytest.approx(tables.REAL.covered(one.record.law, level), abs=5)


@pytest.mark.long
def test_the_zoo_is_fitted_as_the_run_was(tables):
    zoo = tables.Results.of("zoo")
    for law in tables.SHOWN:
        for level in tables.LEVELS:
            for forecast in ("law", "kriged"):
                one, other = (r.error(law, level, forecast) for r in (zoo, tables.REAL))
                assert one == (other if other is None else pytest.approx(other, abs=POINTS))


def test_a_run_is_collected_as_it_is_shown(tables, tmp_path, monkeypatch):
    shown = tables.Results.of("shipped")
    for name in tables.COLLECTED:
        path = tmp_path / "run" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        shown.table(path.stem).assign(more=1.0).to_csv(path, index=False)
    monkeypatch.setattr(tables, "FOLDER", tmp_path)
    tables.collect("again", tmp_path / "run")
    for name in tables.COLLECTED:
        again = tables.Results.of("again").table(name.split("/")[1])
        assert again.equals(shown.table(name.split("/")[1]))
