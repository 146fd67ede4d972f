"""Adaptation scaling laws: the zoo, fits, protocols and scores.

From a table of losses to a score takes four calls:

    rows = target_rows(read_observations("my_losses.csv"), target="fr")
    parts = laws.early_to_late(rows, held_out=279)
    fitted = laws.fit("gated_floor", parts.fit)
    laws.score(parts.held_out["loss"], laws.predict_loss(fitted, parts.held_out))
"""

from ptpp.laws.declared import declared_law, find_law, law_of, load_law
from ptpp.laws.fitting import (
    FitSettings,
    Refits,
    extrapolated_inputs,
    fit,
    predict,
    predict_draws,
    predict_loss,
    refit,
)
from ptpp.laws.forms import LAWS, get_law
from ptpp.laws.law import Law, Parameter
from ptpp.laws.record import Fit
from ptpp.laws.scoring import ScoreRow, score, score_fit, scores_frame
from ptpp.table.protocols import PROTOCOLS, Split, early_to_late, split, with_anchors

__all__ = [
    "LAWS",
    "PROTOCOLS",
    "Fit",
    "FitSettings",
    "Law",
    "Parameter",
    "Refits",
    "ScoreRow",
    "Split",
    "declared_law",
    "early_to_late",
    "extrapolated_inputs",
    "find_law",
    "fit",
    "get_law",
    "law_of",
    "load_law",
    "predict",
    "predict_draws",
    "predict_loss",
    "refit",
    "score",
    "score_fit",
    "scores_frame",
    "split",
    "with_anchors",
]
