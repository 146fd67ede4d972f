"""An edit to a module changes the digest of what uses it, and of nothing else."""

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


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A small package in place of ours; returns a function that edits one of its files."""
    monkeypatch.setattr(module, "PACKAGE", tmp_path)

    def edit(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        module._parsed.cache_clear()

    for name, text in FILES.items():
        edit(name, text)
    yield edit
    module._parsed.cache_clear()


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
                waiting += module._parsed(module._path(current))[1]
        return found

    assert not any(name.startswith("ptpp.laws") for name in followed("ptpp.training.adaptation"))
    assert not any(name.startswith("ptpp.training") for name in followed("ptpp.laws.experiment"))
