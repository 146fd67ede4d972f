"""From an observation table to fits, predictions and scores, under the protocols."""

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.laws.declared import find_law, law_of
from ptpp.laws.fitting import FitSettings, fit, predict_loss
from ptpp.laws.law import Law
from ptpp.laws.record import Fit
from ptpp.laws.rows import law_rows
from ptpp.laws.scoring import PREDICTION_COLUMNS, score, score_fit, scores_frame
from ptpp.table.anchors import Cell
from ptpp.table.observations import is_stage, is_sweep, seed_noise
from ptpp.table.protocols import Split, folds, split

SCORES = (
    "huber_log",
    "mae_rel",
    "calibration_slope",
    "calibration_intercept",
    "rmse",
    "mape",
    "r2",
)


def split_rows(
    observations: pd.DataFrame,
    law: Law | str,
    protocol: str,
    domain: str,
    held_out: float,
    anchors: pd.DataFrame | None = None,
) -> Split:
    """The cells a law is fitted on and those it is scored on.

    `law`: as for `fit`. `anchors` are the rows of the anchored cells; needed by the protocol
    `with_anchors` alone.
    """
    rows = law_rows(observations, law, domain)
    return split(protocol, rows, held_out, anchored_cells(anchors))


def anchored_cells(anchors: pd.DataFrame | None) -> list[Cell]:
    """The distinct cells of a table of anchors."""
    if anchors is None:
        return []
    distinct = anchors[["size", "replay", "atpp"]].drop_duplicates()
    return [Cell(*values) for values in distinct.itertuples(index=False)]


def fit_protocol(
    observations: pd.DataFrame,
    law: Law | str,
    protocol: str,
    domain: str,
    held_out: float,
    anchors: pd.DataFrame | None,
    settings: FitSettings,
) -> Fit:
    """Fit one law under one protocol; the held-out rows are not even passed on."""
    parts = split_rows(observations, law, protocol, domain, held_out, anchors)
    return fit(law, parts.fit, settings, protocol, domain)


def predictions(
    fits: Iterable[Fit], observations: pd.DataFrame, held_out: float, anchors: pd.DataFrame
) -> pd.DataFrame:
    """Observed and predicted loss of every cell under every fit, `PREDICTION_COLUMNS`.

    `role` is "fit" for rows the law was fitted on (anchors included) and "held_out" for the rest.
    """
    parts = []
    for record in fits:
        cells = split_of(record, observations, held_out, anchors)
        for role, rows in (("fit", cells.fit), ("held_out", cells.held_out)):
            parts.append(
                rows.assign(
                    law=record.law,
                    protocol=record.protocol,
                    role=role,
                    observed=rows["loss"],
                    predicted=predict_loss(record, rows),
                )[list(PREDICTION_COLUMNS)]
            )
    return pd.concat(parts, ignore_index=True)


def score_table(
    fits: Sequence[Fit], observations: pd.DataFrame, held_out: float, anchors: pd.DataFrame
) -> pd.DataFrame:
    """Scores on held-out cells, beside the relative seed noise of one run at that stage."""
    sweep = observations[is_stage(observations, held_out) & is_sweep(observations)]
    noise = {domain: seed_noise(rows) for domain, rows in sweep.groupby("domain")}
    return scores_frame(
        [
            score_fit(
                record,
                split_of(record, observations, held_out, anchors).held_out,
                noise[record.domain],
            )
            for record in fits
        ]
    )


def split_of(
    record: Fit, observations: pd.DataFrame, held_out: float, anchors: pd.DataFrame
) -> Split:
    """The rows a fit was made on and those it is scored on."""
    law = law_of(record)
    return split_rows(observations, law, record.protocol, record.domain, held_out, anchors)


def cross_validation(
    observations: pd.DataFrame,
    laws: Sequence[Law | str],
    protocols: Sequence[str],
    domain: str,
    settings: FitSettings,
) -> pd.DataFrame:
    """Scores of every law on every fold, and on all folds of a protocol together.

    Columns: law, protocol, domain, left_out, n_fit, n_held_out, the scores, noise_floor and note:
    why a fold could not be fitted (its scores are then NaN) or what its rows cannot identify. Every
    stage is left out and fitted in turn, so choose no law by this table and then report its score
    at the held-out stage: give the early observations alone for that.
    """
    noise = seed_noise(observations[(observations["domain"] == domain) & is_sweep(observations)])
    rows = []
    for law, protocol in product(laws, protocols):
        found = find_law(law)
        labels = {"law": found.name, "protocol": protocol, "domain": domain}
        try:
            parts = folds(protocol, law_rows(observations, found, domain))
        except InputError as error:
            rows.append({**labels, "left_out": "", "note": str(error)})
            continue
        pooled = []
        for name, part in parts.items():
            counts = {"left_out": name, "n_fit": len(part.fit), "n_held_out": len(part.held_out)}
            try:
                record = fit(found, part.fit, settings, protocol, domain)
                predicted = predict_loss(record, part.held_out, found)
            except InputError as error:
                rows.append({**labels, **counts, "note": str(error)})
                continue
            pooled.append((part.held_out["loss"].to_numpy(), predicted))
            note = "; ".join(record.warnings)
            rows.append({**labels, **counts, **score(*pooled[-1]), "note": note})
        if len(pooled) == len(parts) > 1:
            observed, predicted = (np.concatenate(each) for each in zip(*pooled, strict=True))
            counts = {"left_out": "each", "n_held_out": len(observed), "note": ""}
            rows.append({**labels, **counts, **score(observed, predicted)})
    names = ["law", "protocol", "domain", "left_out", "n_fit", "n_held_out", *SCORES]
    columns = [*names, "noise_floor", "note"]
    return pd.DataFrame(rows).assign(noise_floor=noise).reindex(columns=columns)
