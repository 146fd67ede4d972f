"""An edit to a module changes the digest of what uses it, and of nothing else."""

import json

import pytest

from ptpp.jobs import code_digest as module

FILES = {
    "laws/__init__.py": "",
    "laws/forms.py": "from ptpp.laws import maths\n",
    "laws/maths.py": "def double(x):\n    return 2 * x\n",
    "training/__init__.py": "",
    "training/engine.py": "from ptpp.jobs.files import write\n\n\ndef train():\n    return 1\n",
    "jobs/__init__.py": "",
    "jobs/files.py": "def write():\n    pass\n",
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """The file in which digests are remembered; empty at first."""
    path = tmp_path_factory.mktemp("cache") / "code.json"
    monkeypatch.setattr(module, "_cache_file", lambda: path)
    module._read_cache.cache_clear()
    yield path
    module._read_cache.cache_clear()


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of ours; returns a function that edits one of its files."""
    monkeypatch.setattr(module, "PACKAGE", tmp_path)

    def edit(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    for name, text in FILES.items():
        edit(name, text)
    return edit


def digests():
    return module.code_digest("ptpp.laws.forms"), module.code_digest("ptpp.training.engine")


def test_an_edit_to_an_imported_module_reaches_its_users_and_no_one_else(package):
    laws, training = digests()
    package("laws/maths.py", "def double(x):\n    return x + x\n")
    assert digests()[0] != laws
    assert digests()[1] == training


def test_an_edit_to_the_data_of_a_module_counts(package):
    before = digests()
    package("laws/maths.yaml", "two: 2\n")
    assert digests()[0] != before[0]
    assert digests()[1] == before[1]


def test_comments_docstrings_and_layout_do_not_count(package):
    before = digests()
    package("laws/maths.py", '# why\ndef double(x):\n    """Twice x."""\n\n    return 2 * x\n')
    assert digests() == before


CHECKED = """import logging

log = logging.getLogger("ptpp")


def double(x):
    if x < 0:
        log.warning("%s is negative", x)
    if x > 9:
        raise ValueError(f"{x} is too large" + "; give less")
    return 2 * x
"""


def test_the_words_of_errors_and_logs_do_not_count_but_their_conditions_do(package):
    package("laws/maths.py", CHECKED)
    before = digests()
    for old, new in (
        ("is too large", "exceeds 9"),
        ("; give less", "; at most 9 is accepted"),
        ('log.warning("%s is negative", x)', 'log.info("negative: %s of %s", x, 9)'),
    ):
        assert old in CHECKED
        package("laws/maths.py", CHECKED.replace(old, new))
        assert digests() == before
    for old, new in (("x > 9", "x > 8"), ("ValueError", "TypeError"), ("2 * x", '"2" * x')):
        package("laws/maths.py", CHECKED.replace(old, new))
        assert digests()[0] != before[0]


def test_what_is_remembered_is_what_is_read(package, cache, monkeypatch):
    before = digests()
    module._read_cache.cache_clear()
    assert len(module._read_cache()) == len(json.loads(cache.read_text())) == 3
    monkeypatch.setattr(module.ast, "parse", None)  # nothing is parsed again
    assert digests() == before
    monkeypatch.undo()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1}', '{"a": ["b", [["c"]]]}', "\0"])
def test_a_damaged_cache_is_as_none(package, cache, text):
    before = digests()
    cache.write_text(text)
    module._read_cache.cache_clear()
    assert digests() == before
    assert len(json.loads(cache.read_text())) == 3


def test_without_a_place_for_a_cache_digests_are_the_same(package, cache, monkeypatch):
    before = digests()
    (cache.parent / "file").touch()
    monkeypatch.setattr(module, "_cache_file", lambda: cache.parent / "file" / "code.json")
    module._read_cache.cache_clear()
    assert digests() == before


def test_code_that_moves_bytes_but_no_numbers_does_not_count(package):
    before = digests()
    package("jobs/files.py", "def write():\n    return 1\n")
    assert digests() == before


def test_laws_never_retrain_models_and_training_never_refits_laws():
    def followed(name):
        found, waiting = set(), [name]
        while waiting:
            current = waiting.pop()
            if current not in found:
                found.add(current)
                imported = module._read_module(module._path(current), {})[1]
                waiting += [module._imported_module(*names) for names in imported]
        return found

    assert not any(name.startswith("ptpp.laws") for name in followed("ptpp.training.adaptation"))
    assert not any(name.startswith("ptpp.training") for name in followed("ptpp.laws.experiment"))
