"""One in four of the hostile cases runs by default; all of them with `pytest -m ''`."""

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    hostile = [item for item in items if item.path.name == "test_hostile.py"]
    for number, item in enumerate(hostile):
        if number % 4:
            item.add_marker(pytest.mark.long)
