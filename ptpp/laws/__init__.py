"""Adaptation scaling laws: the zoo, fits, protocols and scores.

From a table of losses to a score takes four calls:

    rows = target_rows(read_observations("my_losses.csv"), target="fr")
    parts = laws.early_to_late(rows, held_out=279)
    fitted = laws.fit("gated_floor", parts.fit)
    laws.score(parts.held_out["loss"], laws.predict_loss(fitted, parts.held_out))
"""

from ptpp.laws.fitting import FitSettings, extrapolated_inputs, fit, predict, predict_loss
from ptpp.laws.forms import LAWS, Law, Parameter, get_law
from ptpp.laws.protocols import PROTOCOLS, Split, early_to_late, split, with_anchors
from ptpp.laws.record import Fit
from ptpp.laws.scoring import ScoreRow, score, score_fit, scores_frame

__all__ = [
    "LAWS",
    "PROTOCOLS",
    "Fit",
    "FitSettings",
    "Law",
    "Parameter",
    "ScoreRow",
    "Split",
    "early_to_late",
    "extrapolated_inputs",
    "fit",
    "get_law",
    "predict",
    "predict_loss",
    "score",
    "score_fit",
    "scores_frame",
    "split",
    "with_anchors",
]
