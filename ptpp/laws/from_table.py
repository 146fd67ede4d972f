"""From a table of losses to a fitted law, its predictions and its scores."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.laws.comparison import score_intervals
from ptpp.laws.declared import find_law
from ptpp.laws.fitted import ENDS, FittedLaw
from ptpp.laws.fitting import FitSettings, fit
from ptpp.laws.identifiability import describe_band
from ptpp.laws.law import Law
from ptpp.laws.levels import FORECASTS
from ptpp.laws.misfit import krige_where_possible
from ptpp.laws.record import check_places
from ptpp.laws.rows import anchors_of, cells_of, law_rows
from ptpp.laws.scoring import score
from ptpp.laws.uncertainty import bootstrap, coverage
from ptpp.table.anchors import choose_anchors, grid_of, measured_cells
from ptpp.table.kinds import CELL, has_base_losses
from ptpp.table.noise import noise_floor
from ptpp.table.protocols import ALL_ROWS, Split, early_to_late, with_anchors
from ptpp.table.units import parse_number

MOST_STARTS, MOST_DRAWS, MOST_SEED = 10_000, 100_000, 2**32 - 1
_UNITS = {  # of a bootstrap that could not resample runs, and what that means
    "row": "rows were resampled, not runs, whose rows share noise: intervals may be too narrow",
    "residual": "residuals were resampled, not runs: intervals hold for this law and these rows",
}
_OF_CHECKPOINTS = {
    "base_loss": "base_loss (the checkpoint's on base text before adaptation, nats)",
    "zero_shot_loss": "zero_shot_loss (the checkpoint's on this domain before adaptation, nats)",
}
CURE = "anchors at the stage to be forecast, or four stages, would narrow it"


@dataclass(frozen=True)
class FitOptions:
    """How laws are fitted to a table.

    `held_out`: fit the stages before this PTPP alone; None fits all rows. `anchors`: and so many
    small-scale cells of that stage. `starts`: of the solver. `draws`: bootstrap refits. `seed`: of
    starts, draws and anchors. `krige`: correct the law by its misfit. `asked`: the PTPP that a fit
    to all rows is to forecast. Raises InputError for a number that is none of these.
    """

    held_out: float | None = None
    anchors: int = 0
    starts: int = 16
    draws: int = 200
    seed: int = 0
    krige: bool = True
    asked: float | None = None

    def __post_init__(self) -> None:
        ends = {"anchors": (0, MOST_DRAWS), "starts": (1, MOST_STARTS)}
        ends |= {"draws": (1, MOST_DRAWS), "seed": (0, MOST_SEED)}
        for name, (low, high) in ends.items():
            value = getattr(self, name)
            if not is_whole(value) or not low <= value <= high:
                raise InputError(
                    f"{name}: {value!r:.80}; accepted is a whole number from {low} to {high}"
                )

    @property
    def settings(self) -> FitSettings:
        return FitSettings(starts=self.starts, seed=self.seed)


@dataclass(frozen=True)
class LawFit:
    """A law fitted to a table: `fitted` is the fit, its draws and its rows.

    `held_out`: the cells it has not seen, empty without a held-out stage. `table`: all observations
    the rows came from, None where the fit was read from a file. `not_kriged`: why the law is not
    corrected by its misfit, if it could not be.
    """

    fitted: FittedLaw
    held_out: pd.DataFrame = field(default_factory=pd.DataFrame)
    table: pd.DataFrame | None = None
    options: FitOptions = field(default_factory=FitOptions)
    not_kriged: str = ""

    def predict(
        self, frame: pd.DataFrame | Mapping | None = None, **columns: object
    ) -> pd.DataFrame:
        """Predicted losses, nats per token, a row per row of `frame` or of the `columns`.

        Needed are the law's columns: n_params [parameters], ptpp [tokens per parameter], replay
        [share], and one of atpp [tokens per parameter] and adapt_tokens [tokens]; some laws read
        base_loss or zero_shot_loss [nats per token]. Values may be written 7B or 1.5T.

        Returns those columns and `loss`, `low` and `high`, between which a measured loss should lie
        (90 %). These are kriged, and `law_loss` is the law alone; a fit without a misfit returns
        the law's loss, the ends by its draws, and `band_low`, `band_high`, the least and greatest
        prediction over the parameter that the rows cannot identify, where there is one.
        `extrapolated`: the inputs outside the fitted rows' range, as text. Raises InputError for
        what is missing or cannot be.
        """
        points = _make_points(self.fitted.law, columns if frame is None else frame)
        table = pd.concat([points, self.fitted.predict(points)], axis=1)
        if not np.isfinite(table["loss"]).all():
            raise InputError(f"law {self.fitted.law.name}: no finite value at this point")
        by_draws = self.fitted.misfit is None and self.fitted.draws is not None
        if by_draws and (ends := self.fitted.band(points)) is not None:
            table["band_low"], table["band_high"] = ends
        table["extrapolated"] = [
            ", ".join(self.fitted.how_far(points.iloc[[row]])) for row in range(len(points))
        ]
        return table

    def score(self, table: pd.DataFrame | None = None, domain: str | None = None) -> pd.DataFrame:
        """Scores of predicted against measured losses, by name: `value`, and with draws `low` and
        `high` (90 %), as shares or nats, see `ptpp.laws.scoring.score`. Predictions are kriged, and
        `law` is the score of the law alone, where the fit has a misfit.

        `table`: observations, by `ptpp.read`, of which the rows of `domain` are scored (None: the
        domain of the fit, or the only one); None: the held-out rows. Besides the scores,
        `coverage`: the share of losses within their intervals, and `noise_floor`: the relative
        seed noise of one run. Raises InputError where there are no rows.
        """
        domain = domain or self.fitted.record.domain
        if table is not None:
            domain = domain if domain in set(table["domain"]) else only_domain(table)
            rows, stage = cells_of(law_rows(table, self.fitted.law, domain)), None
        else:
            rows, stage, table = self.held_out, self.options.held_out, self.table
        if rows.empty:
            raise InputError("score: no held-out stage was fitted without; give a table")
        fitted, kriged = self.fitted, self.fitted.misfit is not None
        predicted = fitted.predict(rows)
        scores = pd.DataFrame({"value": score(rows["loss"], predicted["loss"])})
        if fitted.draws is not None:
            name = FORECASTS[kriged]
            scores = score_intervals(fitted, rows, name).set_index("score")
        if kriged:
            scores["law"] = pd.Series(fitted.score(rows))
        if "low" in predicted:
            inside = coverage(rows["loss"], predicted["low"], predicted["high"])
            scores.loc["coverage", "value"] = inside
        if table is not None and set(CELL) <= set(table.columns):
            scores.loc["noise_floor", "value"] = noise_floor(table, domain, stage)
        return scores.rename_axis("score")

    @property
    def parameters(self) -> pd.DataFrame:
        """By name: `value`, `low` and `high` (90 % of the draws), natural units, and `note`: fixed,
        held by a prior, or not identified by the rows.
        """
        record, draws = self.fitted.record, self.fitted.draws
        table = pd.DataFrame({"value": pd.Series(record.params)}).rename_axis("parameter")
        drawn = draws.drawn if draws is not None else ()
        notes = dict.fromkeys(drawn, "not identified") | dict.fromkeys(record.fixed, "fixed")
        priors = [p.name for p in self.fitted.law.parameters if p.prior is not None]
        notes |= {name: "held by a prior" for name in priors if name in record.fixed}
        table["note"] = [notes.get(name, "") for name in table.index]
        if draws is not None:
            ends = np.quantile(draws.params, ENDS, axis=0)
            table.insert(1, "low", ends[0])
            table.insert(2, "high", ends[1])
        return table

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the rows cannot identify and which bounds the fit touches, one line each."""
        record, draws, rows = self.fitted.record, self.fitted.draws, self.fitted.rows
        banded = draws.band_name if draws is not None and len(draws.band) else None
        lines = [f"{hit} is at its bound" for hit in record.at_bounds]
        lines += [f"not kriged: {self.not_kriged}"] if self.not_kriged else []
        # The band says more of its parameter than the fit's own warning.
        lines += [w for w in record.warnings if not (banded and w.startswith(f"{banded} "))]
        if draws is not None and draws.unit in _UNITS:
            lines.append(f"runs allow too few different resamples; {_UNITS[draws.unit]}")
        if banded and rows is not None:
            lines.append(f"{describe_band(self.fitted)}; {CURE}")
        return tuple(lines)

    def save(self, path: str | os.PathLike) -> None:
        """Write the fit and its draws beside it: x.json and x.npz. Raises InputError where other
        things than these stand there.
        """
        check_places(path)
        self.fitted.save(path)

    def _repr_html_(self) -> str:
        record = self.fitted.record
        title = f"{record.law} on {record.n_rows} rows of {record.domain} ({record.protocol})"
        tables = [self.parameters] + ([] if self.held_out.empty else [self.score()])
        return render_html(title, tables, self.warnings)


def fit_law(
    table: pd.DataFrame,
    law: Law | str | None = None,
    target: str | None = None,
    options: FitOptions | None = None,
    always_draw: bool = True,
) -> LawFit:
    """Fit `law`, with bootstrap draws and its misfit, to one domain of `table`, which
    `read_observations` read. `always_draw` False: draws only where the misfit is not kriged.

    `law`: a law of the zoo by name, a declared law's file (.yaml), or a law; None: `default_law`.
    `target`: the domain, where there are several. Raises InputError, one line that names the table.
    """
    domain, source = target or only_domain(table), name_of(table)
    law, options = find_law(law or default_law(table, domain)), options or FitOptions()
    try:
        parts = _split_rows(law, law_rows(table, law, domain), table, options)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    labels = parts.protocol, domain, source
    asked = options.held_out or options.asked
    fitted, problem = fit(law, parts.fit, options.settings, *labels, asked=asked), ""
    if options.krige:
        fitted, problem = krige_where_possible(fitted, options.held_out, options.settings)
    if always_draw or fitted.misfit is None:
        fitted = bootstrap(fitted, options.draws, options.seed)
    return LawFit(fitted, cells_of(parts.held_out), table, options, problem)


def default_law(table: pd.DataFrame, target: str) -> str:
    """The law to take: `state`, where the table has base losses, else `gated_floor`."""
    if "base_loss" in table:
        return "state"
    known = set(CELL) <= set(table.columns) and has_base_losses(table, target)
    return "state" if known else "gated_floor"


def _split_rows(law: Law, rows: pd.DataFrame, table: pd.DataFrame, options: FitOptions) -> Split:
    """The rows before the held-out stage, with its anchors if any; without such a stage, all."""
    if options.held_out is None:
        if options.anchors:
            raise InputError("anchors: they are cells of a held-out stage, and none is named")
        return Split(ALL_ROWS, rows, rows.iloc[:0])
    for column in ("ptpp", *(CELL if options.anchors else ())):
        if column not in rows:
            raise InputError(f"no column {column!r}; a held-out stage needs it")
    if not options.anchors:
        return early_to_late(rows, options.held_out)
    grid, cells = grid_of(table, options.held_out), measured_cells(table, options.held_out)
    anchors = choose_anchors(grid, options.anchors, options.seed, cells)
    return with_anchors(rows, options.held_out, anchors_of(law, anchors))


def is_whole(value: object) -> bool:
    """Whether a value is an integer, of Python or numpy."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def name_of(table: pd.DataFrame) -> str:
    """What errors call a table: the file it was read from, if any."""
    return table.attrs.get("source", "the table")


def only_domain(table: pd.DataFrame) -> str:
    """The one domain of a table; raises InputError where there are several to choose from."""
    domains = sorted(table["domain"].unique())
    if len(domains) > 1:
        raise InputError(
            f"{name_of(table)}: {len(domains)} domains ({', '.join(domains)}); choose the target "
            "by --target, or target= in Python"
        )
    return domains[0]


def render_html(title: str, tables: Sequence[pd.DataFrame], lines: Sequence[str] = ()) -> str:
    """A title, tables with four digits and lines below them, for notebooks."""
    numbers = {"float_format": lambda value: f"{value:.4g}", "na_rep": "", "border": 0}
    parts = [f"<p><b>{escape(title)}</b></p>", *(table.to_html(**numbers) for table in tables)]
    return "\n".join([*parts, *(f"<p>{escape(line)}</p>" for line in lines)])


def _make_points(law: Law, frame: pd.DataFrame | Mapping[str, object]) -> pd.DataFrame:
    """Points (n rows) for a prediction, as numbers, with atpp and adapt_tokens from each other.

    Raises InputError for a column that the law needs and a value that is no number.
    """
    columns = {name: np.atleast_1d(np.array(values, object)) for name, values in frame.items()}
    length = max(map(len, columns.values()), default=0)
    if any(len(values) not in (1, length) for values in columns.values()):
        raise InputError("predict: the columns differ in length")
    points = pd.DataFrame(index=range(length))
    for name, values in columns.items():
        try:
            numbers = [parse_number(value) for value in values]
        except InputError as error:
            raise InputError(f"predict: {name} is {error}") from None
        points[name] = np.broadcast_to(numbers, length)
    if {"n_params", "atpp"} <= set(points) and "adapt_tokens" not in points:
        points["adapt_tokens"] = points["atpp"] * points["n_params"]
    elif {"n_params", "adapt_tokens"} <= set(points) and "atpp" not in points:
        points["atpp"] = points["adapt_tokens"] / points["n_params"]
    missing = [name for name in law.columns if name not in points]
    if missing:
        wanted = ", ".join(_OF_CHECKPOINTS.get(name, name) for name in missing)
        raise InputError(f"predict: law {law.name} needs {wanted}")
    return points
