"""From an observation table to fits, predictions and scores, under the protocols."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.laws.base_loss import BaseLosses
from ptpp.laws.declared import find_law
from ptpp.laws.fitted import FittedLaw
from ptpp.laws.fitting import FitSettings, fit
from ptpp.laws.forms import LAWS
from ptpp.laws.law import ROWS, Law
from ptpp.laws.levels import FORECASTS, INFORMATION, LAST_STAGE, forecasts_of, last_stage_losses
from ptpp.laws.rows import anchors_of, cells_of, law_rows
from ptpp.laws.scoring import PREDICTION_COLUMNS, SCORES, score
from ptpp.table.anchors import Cell, cells_in
from ptpp.table.kinds import is_before
from ptpp.table.noise import noise_floor
from ptpp.table.observations import read_observations
from ptpp.table.protocols import ALL_ROWS, Split, folds, split

SCORE_COLUMNS = (
    *("law", "protocol", "domain", "information", "forecast", "n_fit", "n_held_out"),
    *(*SCORES, "noise_floor"),
)
FOLD_COLUMNS = ("n_fit", "n_held_out", *SCORES, "noise_floor", "note")
Path = str | os.PathLike


@dataclass(frozen=True)
class Experiment:
    """A table of losses, the stage that laws must forecast, and the anchored cells of it.

    Splits and early base losses, which every table asks for, are found once.
    """

    observations: pd.DataFrame
    held_out: float
    anchors: tuple[Cell, ...] = ()
    _known: dict = field(default_factory=dict, init=False, compare=False, repr=False)

    @classmethod
    def read(cls, observations: Path, held_out: float, anchors: Path | None = None) -> "Experiment":
        """From a table of losses and, for the protocol `with_anchors`, one of the anchors' rows."""
        cells = ()
        if anchors:
            cells = tuple(dict.fromkeys(cells_in(read_observations(anchors))))
        return cls(read_observations(observations), held_out, cells)

    def split(self, law: Law | str, protocol: str, domain: str) -> Split:
        """The rows a law (as for `fit`) is fitted on, and the cells that it is scored on."""
        law = find_law(law)
        key = law.name, law.inputs, law.offset, law.rows, protocol, domain
        if key not in self._known:
            rows = law_rows(self.observations, law, domain)
            parts = Split(protocol, rows, rows.iloc[:0])
            if protocol != ALL_ROWS:
                parts = split(protocol, rows, self.held_out, anchors_of(law, self.anchors))
                parts = replace(parts, held_out=cells_of(parts.held_out))
            self._known[key] = parts
        return self._known[key]

    def split_of(self, fitted: FittedLaw) -> Split:
        """The same for a law that was fitted."""
        return self.split(fitted.law, fitted.record.protocol, fitted.record.domain)

    def fit(
        self,
        law: Law | str,
        protocol: str,
        domain: str,
        settings: FitSettings,
        asked: float | None = None,
    ) -> FittedLaw:
        """Fit one law under one protocol; the held-out rows are not even passed on.

        `asked`: the PTPP that a fit to all rows is to forecast; the others forecast the held-out
        stage.
        """
        rows = self.split(law, protocol, domain).fit
        asked = asked if protocol == ALL_ROWS else self.held_out
        return fit(law, rows, settings, protocol, domain, asked=asked)

    def load(self, paths: Sequence[Path]) -> list[FittedLaw]:
        """Fits from their files, with their draws and the rows they were made on."""
        fits = [FittedLaw.load(path) for path in paths]
        return [replace(one, rows=self.split_of(one).fit) for one in fits]

    def forecasts(
        self, fitted: FittedLaw, cells: pd.DataFrame
    ) -> Iterator[tuple[str, str, pd.DataFrame]]:
        """`forecasts_of` a fit, those from the early stages alone among them."""
        reads = "base_loss" in fitted.law.inputs
        early = self.early_base_losses(fitted.record.domain) if reads else None
        return forecasts_of(fitted, cells, early)

    def early_base_losses(self, target: str) -> BaseLosses | None:
        """Base losses of the stages before the held-out one; None where none can be forecast."""
        if target not in self._known:
            before = is_before(self.observations, self.held_out)
            self._known[target] = losses = BaseLosses(self.observations[before], target)
            try:
                losses.forecast  # noqa: B018  # the only way to know whether it can be made
            except InputError:
                self._known[target] = None
        return self._known[target]


def predictions(fits: Sequence[FittedLaw], experiment: Experiment) -> pd.DataFrame:
    """Observed and predicted loss of every cell by every forecast: `PREDICTION_COLUMNS`, low, high.

    `role` is "fit" for rows the law was fitted on (anchors included) and "held_out" for the rest.
    `low`, `high`: the ends of the prediction's interval, where it is known.
    """
    parts = []
    for one in fits:
        cells = experiment.split_of(one)
        fitted = cells_of(cells.fit)
        roles = ["fit"] * len(fitted) + ["held_out"] * len(cells.held_out)
        rows = pd.concat([fitted, cells.held_out], ignore_index=True)
        for information, forecast, made in experiment.forecasts(one, rows):
            labels = {"information": information, "forecast": forecast, "role": roles}
            table = rows.assign(**one.label, **labels, observed=rows["loss"])
            table = table.assign(**made.rename(columns={"loss": "predicted"}))
            ends = [name for name in ("low", "high") if name in made]
            ends += ["stage"] if "stage" in table else []
            parts.append(table[[*PREDICTION_COLUMNS, *ends]])
    return pd.concat(parts, ignore_index=True)


def score_table(fits: Sequence[FittedLaw], experiment: Experiment) -> pd.DataFrame:
    """Scores on held-out cells, `SCORE_COLUMNS`, laws in the order of the zoo, and last the losses
    of the last early stage, unchanged; for forgetting with replay, its changes. `noise_floor`: the
    relative seed noise of one run at the held-out stage.
    """
    rows, stages = [], {}
    observations, held_out = experiment.observations, experiment.held_out
    for one in fits:
        cells, domain = experiment.split_of(one).held_out, one.record.domain
        observed = cells["loss"].to_numpy(float)
        labels = {"n_fit": one.record.n_rows, "n_held_out": len(cells)}
        spoken = observations[ROWS[one.law.rows](observations["replay"])]
        labels["noise_floor"] = noise_floor(spoken, domain, held_out)
        for information, forecast, table in experiment.forecasts(one, cells):
            names = {"information": information, "forecast": forecast}
            rows.append({**one.label, **names, **labels, **score(observed, table["loss"])})
        doubled = domain in stages or one.law.rows == "without_replay"
        if one.record.protocol != "early_to_late" or doubled:
            continue
        unchanged = last_stage_losses(observations, cells, held_out, one.law, domain)
        known = unchanged.notna().to_numpy()
        if known.any():
            information = "zero_shot" if one.law.offset else "early"
            names = {"protocol": "early_to_late", "domain": domain, "information": information}
            scores = score(observed[known], unchanged[known])
            stages[domain] = {**labels, **names, "law": LAST_STAGE, "n_held_out": known.sum()}
            stages[domain] |= {"forecast": "law", "n_fit": 0, **scores}
    place = {name: number for number, name in enumerate((*LAWS, LAST_STAGE))}
    order = {name: number for number, name in enumerate((*INFORMATION, *FORECASTS))}
    rows += stages.values()
    rows.sort(
        key=lambda r: (
            *(r["protocol"], place.get(r["law"], len(place)), r["law"], r["domain"]),
            *(order[r["information"]], order[r["forecast"]]),
        )
    )
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
            held_out = cells_of(part.held_out)
            counts = {"left_out": name, "n_fit": len(part.fit), "n_held_out": len(held_out)}
            try:
                fitted = fit(law, part.fit, settings, protocol, domain, asked=part.stage)
                predicted = fitted.loss(held_out)
            except InputError as error:
                rows.append({**labels, **counts, "note": str(error)})
                continue
            pooled.append((held_out["loss"].to_numpy(), predicted))
            note = "; ".join(fitted.record.warnings)
            rows.append({**labels, **counts, **score(*pooled[-1]), "note": note})
        if len(pooled) == len(parts) > 1:
            observed, predicted = (np.concatenate(each) for each in zip(*pooled, strict=True))
            counts = {"left_out": "each", "n_held_out": len(observed), "note": ""}
            rows.append({**labels, **counts, **score(observed, predicted)})
    names = ["law", "protocol", "domain", "left_out", *FOLD_COLUMNS]
    return pd.DataFrame(rows).assign(noise_floor=noise).reindex(columns=names)
