"""From an observation table to fits, predictions and scores, under the protocols."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.laws.declared import find_law
from ptpp.laws.fitted import LEVEL, FittedLaw
from ptpp.laws.fitting import FitSettings, fit
from ptpp.laws.forms import LAWS
from ptpp.laws.law import Law
from ptpp.laws.rows import law_rows
from ptpp.laws.scoring import PREDICTION_COLUMNS, SCORES, score
from ptpp.table.anchors import Cell
from ptpp.table.noise import noise_floor
from ptpp.table.observations import read_observations
from ptpp.table.protocols import Split, folds, split

SCORE_COLUMNS = ("law", "protocol", "domain", "n_fit", "n_held_out", *SCORES, "noise_floor")
Path = str | os.PathLike


@dataclass(frozen=True)
class Experiment:
    """A table of losses, the stage that laws must forecast, and the anchored cells of it."""

    observations: pd.DataFrame
    held_out: float
    anchors: tuple[Cell, ...] = ()

    @classmethod
    def read(cls, observations: Path, held_out: float, anchors: Path | None = None) -> "Experiment":
        """From a table of losses and, for the protocol `with_anchors`, one of the anchors' rows."""
        cells = ()
        if anchors:
            table = read_observations(anchors)[["size", "replay", "atpp"]].drop_duplicates()
            cells = tuple(Cell(*values) for values in table.itertuples(index=False))
        return cls(read_observations(observations), held_out, cells)

    def split(self, law: Law | str, protocol: str, domain: str) -> Split:
        """The cells a law (as for `fit`) is fitted on and those it is scored on."""
        rows = law_rows(self.observations, law, domain)
        return split(protocol, rows, self.held_out, self.anchors)

    def split_of(self, fitted: FittedLaw) -> Split:
        """The same for a law that was fitted."""
        return self.split(fitted.law, fitted.record.protocol, fitted.record.domain)

    def fit(self, law: Law | str, protocol: str, domain: str, settings: FitSettings) -> FittedLaw:
        """Fit one law under one protocol; the held-out rows are not even passed on."""
        rows = self.split(law, protocol, domain).fit
        return fit(law, rows, settings, protocol, domain, asked=self.held_out)

    def load(self, paths: Sequence[Path]) -> list[FittedLaw]:
        """Fits from their files, with their draws and the rows they were made on."""
        fits = [FittedLaw.load(path) for path in paths]
        return [replace(one, rows=self.split_of(one).fit) for one in fits]


def predictions(
    fits: Sequence[FittedLaw], experiment: Experiment, level: float = LEVEL
) -> pd.DataFrame:
    """Observed and predicted loss of every cell under every fit: `PREDICTION_COLUMNS`, low, high.

    `role` is "fit" for rows the law was fitted on (anchors included) and "held_out" for the rest.
    `low`, `high`: the ends of the prediction's interval; there are none without draws.
    """
    parts = []
    for one in fits:
        cells = experiment.split_of(one)
        roles = ["fit"] * len(cells.fit) + ["held_out"] * len(cells.held_out)
        rows = pd.concat([cells.fit, cells.held_out], ignore_index=True)
        predicted = one.predict(rows, level).rename(columns={"loss": "predicted"})
        table = rows.assign(**one.label, role=roles, observed=rows["loss"], **predicted)
        columns = [*PREDICTION_COLUMNS, *(name for name in ("low", "high") if name in predicted)]
        columns += ["stage"] if "stage" in table else []
        parts.append(table[columns])
    return pd.concat(parts, ignore_index=True)


def score_table(fits: Sequence[FittedLaw], experiment: Experiment) -> pd.DataFrame:
    """Scores on held-out cells, `SCORE_COLUMNS`, laws in the order of the zoo. `noise_floor`: the
    relative seed noise of one run at the held-out stage.
    """
    rows = []
    for one in fits:
        held_out = experiment.split_of(one).held_out
        counts = {"n_fit": one.record.n_rows, "n_held_out": len(held_out)}
        floor = noise_floor(experiment.observations, one.record.domain, experiment.held_out)
        rows.append({**one.label, **counts, **one.score(held_out), "noise_floor": floor})
    place = {name: number for number, name in enumerate(LAWS)}
    rows.sort(key=lambda r: (r["protocol"], place.get(r["law"], len(place)), r["law"], r["domain"]))
    return pd.DataFrame(rows, columns=list(SCORE_COLUMNS))


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
    stage is left out and fitted in turn: to choose a law by this table and then report its score at
    the held-out stage, pass the early observations alone.
    """
    noise = noise_floor(observations, domain)
    rows = []
    for law, protocol in product(map(find_law, laws), protocols):
        labels = {"law": law.name, "protocol": protocol, "domain": domain}
        try:
            parts = folds(protocol, law_rows(observations, law, domain))
        except InputError as error:
            rows.append({**labels, "left_out": "", "note": str(error)})
            continue
        pooled = []
        for name, part in parts.items():
            counts = {"left_out": name, "n_fit": len(part.fit), "n_held_out": len(part.held_out)}
            try:
                fitted = fit(law, part.fit, settings, protocol, domain, asked=part.stage)
                predicted = fitted.loss(part.held_out)
            except InputError as error:
                rows.append({**labels, **counts, "note": str(error)})
                continue
            pooled.append((part.held_out["loss"].to_numpy(), predicted))
            note = "; ".join(fitted.record.warnings)
            rows.append({**labels, **counts, **score(*pooled[-1]), "note": note})
        if len(pooled) == len(parts) > 1:
            observed, predicted = (np.concatenate(each) for each in zip(*pooled, strict=True))
            counts = {"left_out": "each", "n_held_out": len(observed), "note": ""}
            rows.append({**labels, **counts, **score(observed, predicted)})
    names = [*SCORE_COLUMNS[:3], "left_out", *SCORE_COLUMNS[3:], "note"]
    return pd.DataFrame(rows).assign(noise_floor=noise).reindex(columns=names)
