"""From an observation table to fits, predictions and scores, under the protocols."""

from collections.abc import Iterable, Sequence

import pandas as pd

from ptpp.anchors import Cell
from ptpp.laws.fitting import FitSettings, fit, predict_loss
from ptpp.laws.forms import get_law
from ptpp.laws.protocols import Split, split
from ptpp.laws.record import Fit
from ptpp.laws.scoring import PREDICTION_COLUMNS, score_fit, scores_frame
from ptpp.observations import forgetting_rows, is_stage, is_sweep, seed_noise, target_rows


def split_rows(
    observations: pd.DataFrame,
    law: str,
    protocol: str,
    domain: str,
    held_out: float,
    anchors: pd.DataFrame | None = None,
) -> Split:
    """The cells a law is fitted on and those it is scored on.

    `anchors` are the rows of the anchored cells; needed by the protocol `with_anchors` alone.
    """
    rows = forgetting_rows if get_law(law).offset else target_rows
    return split(protocol, rows(observations, domain), held_out, anchored_cells(anchors))


def anchored_cells(anchors: pd.DataFrame | None) -> list[Cell]:
    """The distinct cells of a table of anchors."""
    if anchors is None:
        return []
    distinct = anchors[["size", "replay", "atpp"]].drop_duplicates()
    return [Cell(*values) for values in distinct.itertuples(index=False)]


def fit_protocol(
    observations: pd.DataFrame,
    law: str,
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
        cells = _split_of(record, observations, held_out, anchors)
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
                _split_of(record, observations, held_out, anchors).held_out,
                noise[record.domain],
            )
            for record in fits
        ]
    )


def _split_of(
    record: Fit, observations: pd.DataFrame, held_out: float, anchors: pd.DataFrame
) -> Split:
    return split_rows(observations, record.law, record.protocol, record.domain, held_out, anchors)
