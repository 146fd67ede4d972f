"""What a table can be used for."""

import pytest

from ptpp.table.contents import describe_contents
from ptpp.table.observations import read_observations


@pytest.fixture
def table(root):
    return read_observations(root / "resources" / "observations" / "laptop-real.csv", target="fr")


def test_base_losses_are_those_of_every_adapted_checkpoint(table):
    whole = describe_contents(table, "fr")
    assert whole.domains == ("ar", "en", "fr") and whole.has_base_losses
    zero_shot = table["atpp"] == 0
    assert not describe_contents(table[~zero_shot], "fr").has_base_losses
    arabic = zero_shot & (table["domain"] == "ar")
    assert describe_contents(table[~arabic], "fr").has_base_losses, "English alone is enough"
    one = arabic & (table["size"] == table["size"].iloc[0]) & (table["ptpp"] == 15)
    assert one.any() and not describe_contents(table[~one], "fr").has_base_losses
