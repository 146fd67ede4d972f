"""Adaptation scaling laws: the zoo, fits, protocols and scores.

From a table of losses to a score takes four calls:

    rows = target_rows(read_observations("my_losses.csv"), target="fr")
    parts = laws.early_to_late(rows, held_out=279)
    fitted = laws.fit("gated_floor", parts.fit)
    fitted.score(parts.held_out)
"""

# ruff: noqa: F401
from ptpp.laws.declared import declared_law, find_law, load_law
from ptpp.laws.experiment import Experiment
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.fitting import FitSettings, fit
from ptpp.laws.forms import LAWS, get_law
from ptpp.laws.law import Law, Parameter
from ptpp.laws.record import Draws, Fit
from ptpp.laws.scoring import score
from ptpp.laws.uncertainty import bootstrap
from ptpp.table.protocols import PROTOCOLS, early_to_late, split, with_anchors
