"""What a run found, in a few numbers and sentences, from its tables of scores and plans."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ptpp.laws.levels import FORECASTS, INFORMATION, LAST_STAGE
from ptpp.report.names import law_name, power, short_number

BASELINE = "dcpt"


@dataclass(frozen=True)
class Score:
    """One forecast and its error: MAErel on held-out cells, a share."""

    law: str
    forecast: str
    error: float

    @property
    def name(self) -> str:
        kriged = ", kriged" if self.forecast == FORECASTS[1] else ""
        return f"{law_name(self.law)}{kriged}"


@dataclass(frozen=True)
class Findings:
    """How well the held-out stage was forecast; None where a score was not made.

    `best`: the lowest error by what the forecast knew (`levels.INFORMATION`), the baseline aside;
    `chosen`: the same of the plan's law. `baseline_kriged`: the baseline with its misfit corrected,
    as most of the others are; it is one of those that `best` is the best of. `tried`: how many
    forecasts each is the best of. `noise`: the relative seed noise of one run, NaN where no cell
    was repeated.
    """

    target: str
    held_out: float
    early: tuple[float, ...]
    anchors: int
    law: str
    baseline: Score | None
    baseline_kriged: Score | None
    last_stage: Score | None
    best: dict[str, Score | None]
    chosen: dict[str, Score | None]
    tried: dict[str, int]
    noise: float

    @property
    def times_noise(self) -> float:
        """The error with anchors over the noise; NaN where one is not known."""
        best = self.best[INFORMATION[2]]
        return best.error / self.noise if best else float("nan")


def find(
    scores: pd.DataFrame,
    target: str,
    law: str,
    held_out: float,
    early: Sequence[float],
    anchors: int,
) -> Findings:
    """The findings on the `target` domain, from a table as by `laws.experiment.score_table`.

    `law`: that of the plan. `early`: the stages before `held_out`. `anchors`: how many cells.
    """
    rows = scores[scores["domain"] == target]
    reference = ((rows["law"] == BASELINE) & (rows["forecast"] == FORECASTS[0])) | (
        rows["law"] == LAST_STAGE
    )
    is_early = rows["protocol"] == "early_to_late"
    alone, kriged = rows[reference & is_early], rows[is_early & (rows["forecast"] == FORECASTS[1])]
    by_information = {
        name: rows[~reference & (rows["information"] == name)] for name in INFORMATION
    }
    noise = rows["noise_floor"].dropna()
    return Findings(
        target=target,
        held_out=held_out,
        early=tuple(early),
        anchors=anchors,
        law=law,
        baseline=_best(alone[alone["law"] == BASELINE]),
        baseline_kriged=_best(kriged[kriged["law"] == BASELINE]),
        last_stage=_best(alone[alone["law"] == LAST_STAGE]),
        best={name: _best(each) for name, each in by_information.items()},
        chosen={name: _best(e[e["law"] == law]) for name, e in by_information.items()},
        tried={name: len(each) for name, each in by_information.items()},
        noise=float(noise.iloc[0]) if len(noise) else float("nan"),
    )


def _best(rows: pd.DataFrame) -> Score | None:
    rows = rows.dropna(subset="mae_rel")
    if rows.empty:
        return None
    row = rows.sort_values("mae_rel", kind="stable").iloc[0]
    return Score(str(row["law"]), str(row["forecast"]), float(row["mae_rel"]))


def percent(share: float) -> str:
    """A share in percent with two digits, such as "2.2 %"."""
    return "unknown" if pd.isna(share) else f"{digits(100 * share)} %"


def digits(value: float) -> str:
    """A number with two significant digits, without powers of ten, thousands apart."""
    rounded = float(f"{value:.2g}")
    if rounded == 0:
        return "0"
    places = max(0, 1 - int(f"{rounded:e}".split("e")[1]))
    return f"{rounded:,.{places}f}".replace(",", "\N{NARROW NO-BREAK SPACE}")


@dataclass(frozen=True)
class PlanSentences:
    """The plan in words: `main` first; `others` are the cheaper or larger ones. Both plain text."""

    main: str
    others: tuple[str, ...]


def plan_sentences(plans: pd.DataFrame, robust: pd.DataFrame, law: str) -> PlanSentences | None:
    """The plans by one law, from plan.csv and robust.csv; None where there are none.

    The model within the measured range leads; the robust plan where it is feasible.
    """
    plans, robust = (t[t["law"] == law].reset_index(drop=True) for t in (plans, robust))
    if plans.empty and robust.empty:
        return None
    sizes = dict.fromkeys([*robust["n_params"], *plans["n_params"]])
    sentences = []
    for n_params in sorted(sizes, key=lambda n: (_times(plans, n) > 1.01, n)):
        kinds = [("robust", robust), ("point", plans)]
        rows = {kind: _only(table, n_params) for kind, table in kinds}
        feasible = [kind for kind, row in rows.items() if row is not None and bool(row["feasible"])]
        if not feasible:
            text = f"{_model(plans, n_params)}: no plan keeps all limits"
            row = rows["point"] if rows["point"] is not None else rows["robust"]
            note = row.get("note")
            sentences.append(f"{text} ({note})." if isinstance(note, str) and note else f"{text}.")
        for kind in feasible:
            sentences.append(_plan_text(_model(plans, n_params), kind, rows[kind]))
    return PlanSentences(sentences[0], tuple(sentences[1:]))


def _plan_text(model: str, kind: str, row: pd.Series) -> str:
    met, note = row.get("met"), row.get("note")
    sure = "keeps the limits by the point forecast"
    if pd.notna(met):
        sure = f"keeps all limits in {percent(met)} of the draws"
    elif isinstance(note, str) and note:
        sure = note
    lead = "" if kind == "robust" else "the cheapest by the point forecast: "
    return (
        f"{model}: {lead}give {digits(100 * row['replay'])} % of the tokens to replay and read "
        f"{digits(row['atpp'])} tokens per parameter ({_count(row['adapt_tokens'])} tokens, "
        f"{power(row['flops'])} FLOPs): {sure}."
    )


def _model(plans: pd.DataFrame, n_params: float) -> str:
    row = _only(plans, n_params)
    stage = f" at PTPP {row['ptpp']:g}" if row is not None else ""
    times = _times(plans, n_params)
    beyond = f", {digits(times)} times the largest measured model" if times > 1.01 else ""
    return f"N = {short_number(n_params)}{stage}{beyond}"


def _times(plans: pd.DataFrame, n_params: float) -> float:
    row = _only(plans, n_params)
    times = row.get("times_largest") if row is not None else None
    return float(times) if pd.notna(times) else 1.0


def _only(table: pd.DataFrame, n_params: float) -> pd.Series | None:
    rows = table[table["n_params"] == n_params]
    return rows.iloc[0] if len(rows) else None


def _count(value: float) -> str:
    return short_number(float(f"{value:.2g}"))


@dataclass(frozen=True)
class Report:
    """The page's HTML, and the findings that it leads with; None for those that a run lacks.

    `applied`: how the carried-out plan did, in a sentence.
    """

    html: str
    findings: Findings | None
    plan: PlanSentences | None
    applied: str = ""


def summary(report: Report, page: str) -> list[str]:
    """At most six lines for the terminal: what was forecast how well, the plan, how it did when it
    was carried out, and what to open.
    """
    lines, found = [], report.findings
    if found and found.baseline:
        last = found.last_stage
        same = f", {last.name} {percent(last.error)}" if last else ""
        if found.baseline_kriged:
            same = f" ({percent(found.baseline_kriged.error)} kriged){same}"
        lines.append(
            f"{found.target} loss at PTPP {found.held_out:g}: {found.baseline.name} is "
            f"{percent(found.baseline.error)} off{same}"
        )
    if found:
        without = [each for name in INFORMATION[:2] if (each := found.best[name])]
        if without:
            best = min(without, key=lambda each: each.error)
            lines.append(f"best without anchors: {percent(best.error)} ({best.name})")
        noise = f"seed noise of one run: {percent(found.noise)}"
        best = found.best[INFORMATION[2]]
        with_anchors = f"best with {found.anchors} anchors: {percent(best.error)} ({best.name}); "
        lines.append((with_anchors if best else "") + noise)
    if report.plan:
        lines.append(f"plan: {report.plan.main}")
    if report.applied:
        lines.append(f"carried out: {report.applied}")
    return [*lines, f"open {page}"]
