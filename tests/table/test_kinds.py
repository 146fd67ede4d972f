"""What a table can be used for: has it the losses before adaptation?"""

import pytest

from ptpp.table.kinds import has_base_losses
from ptpp.table.observations import read_observations


@pytest.fixture
def table(root):
    return read_observations(root / "resources" / "observations" / "laptop-real.csv", target="fr")


def test_base_losses_are_those_of_every_adapted_checkpoint(table):
    assert has_base_losses(table, "fr")
    zero_shot = table["atpp"] == 0
    assert not has_base_losses(table[~zero_shot], "fr")
    arabic = zero_shot & (table["domain"] == "ar")
    assert has_base_losses(table[~arabic], "fr"), "English alone is enough"
    one = arabic & (table["size"] == table["size"].iloc[0]) & (table["ptpp"] == 15)
    assert one.any() and not has_base_losses(table[~one], "fr")
