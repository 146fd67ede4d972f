"""The tables of docs/evidence.md, from the published tables in resources/published/.

    python benchmarks/evidence.py [--check [TABLE ...]] [--quick]

Forecasts losses of real models by laws of size and tokens and by a law of the checkpoint's own base
loss, and writes the errors between the markers in docs/evidence.md. `--check` writes nothing and
fails where the page's numbers of these tables (all, if none is named) differ by more than another
machine's arithmetic can change them; `--quick` leaves the intervals out of the check.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # a script finds only its own folder

import numpy as np
import pandas as pd

from ptpp.jobs.files import write_text
from ptpp.laws.declared import declared_law, load_law
from ptpp.laws.fitting import FitSettings, fit
from ptpp.laws.forms import LAWS
from ptpp.laws.law import Law
from ptpp.laws.misfit import krige
from ptpp.laws.scoring import score
from ptpp.table.observations import read_observations

PAGE = ROOT / "docs" / "evidence.md"
FOLDER = ROOT / "resources" / "published"
SETTINGS = FitSettings(starts=12)
NEEDS = ("n_params", "ptpp", "adapt_tokens", "base_loss")
SAME_CLASS = 1.5  # a model over so many times the next smaller one begins a class of sizes
SLACK = 0.02, 0.03  # percent, and of the value: what another machine's arithmetic may change
SLACK_WITHIN = 5  # percent: a loss at an end of its interval may change sides
BEGIN, END = "<!-- benchmarks/evidence.py: {} -->", "<!-- end -->"


@dataclass(frozen=True)
class Source:
    """A published table: `fit_to`, `forecast`: the greatest fitted PTPP, and the least and greatest
    that are forecast from there. `sets`: the base domain of every training set in it. `twins`:
    domains that are the base domain under another name.
    """

    title: str
    fit_to: float
    forecast: tuple[float, float]
    sets: Mapping[str | None, str]
    twins: tuple[tuple[str, str], ...] = ()
    stages: tuple[int, ...] = ()


SOURCES = {
    "gadre": Source(
        "Gadre et al.",
        *(20, (160, 640)),
        {"c4": "c4_en", "redpajama": "redpajama", "refinedweb": "refinedweb"},
        twins=(("c4", "c4_val"),),
        stages=(40, 80, 160, 320, 640),
    ),
    "olmo_ladder": Source("OLMo ladder", 41, (190, 210), {None: "c4_en"}, stages=(100, 200)),
    "gemstones": Source("Gemstones", 210, (1000, 2100), {None: "constant_rate"}),
}


def _declare(name: str, expression: str, **bounds: tuple[float, float]) -> Law:
    parameters = {
        key: {"low": low, "high": high, "scale": "log" if key in "ABGK" else "linear"}
        for key, (low, high) in bounds.items()
    }
    return declared_law({"name": name, "expression": expression, "parameters": parameters}, name)


_E, _AMPLITUDE, _ALPHA = (0, 10), (1e-6, 100), (0.02, 1.2)
_FLOOR = {"E": _E, "A": _AMPLITUDE, "alpha": _ALPHA, "G": _AMPLITUDE}
POWER = load_law(ROOT / "resources" / "laws" / "base_power.yaml")
LAWS_SHOWN = {
    "`chinchilla`": LAWS["chinchilla"],
    "`tied`": LAWS["tied"],
    "floor in PTPP": _declare("floor_ptpp", "E + A*n**-alpha + G*p**-0.4", **_FLOOR),
    "floor in tokens": _declare("floor_tokens", "E + A*n**-alpha + G*d**-0.4", **_FLOOR),
    "`base_exp`": _declare(
        "base_exp", "K*exp(lam*(base_loss - 3))", K=(1e-4, 100), lam=(-2.0, 3.0)
    ),
    "`base_power`": POWER,
}
UNCHANGED, FORECAST = "unchanged", "`base_power`, base loss forecast"
ROWS = (UNCHANGED, *LAWS_SHOWN, FORECAST)
KRIGED = ("`tied`", "`base_power`")
OF_TOKENS = tuple(LAWS_SHOWN)[:4]
OF_DOMAINS = (UNCHANGED, *OF_TOKENS, "`base_exp`", "`base_power`")
# The tables of the page, and the head of their first column.
BLOCKS = {
    "splits": "source",
    "later": "forecast by",
    "wins": "`base_power` is closer",
    "distance": "forecast by",
    "domains": "domain",
    "carry": "fitted on, forecast",
    "larger": "forecast by",
    "intervals": "source, forecast",
}
QUESTIONS = {"later": 0, "one size": 1, "two sizes": 2}  # sizes left out


def read_tables(name: str) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Every table of a source: training set, domain, and its rows, the base domain's left out."""
    source = SOURCES[name]
    for group, base in source.sets.items():
        where = None if group is None else f"train_set == {group!r}"
        rows = read_observations(
            FOLDER / f"{name}.csv", rename={"tokens": "adapt_tokens"}, where=where, needs=NEEDS
        )
        for domain, part in rows.groupby("domain"):
            if domain != base and (group, domain) not in source.twins:
                yield group or "", domain, part.reset_index(drop=True)


def size_classes(n_params: Sequence[float]) -> np.ndarray:
    """The class (n,) of every model, from 0 for the smallest: sizes that nearly agree share one."""
    sizes = np.unique(n_params)
    new = np.append(False, sizes[1:] > SAME_CLASS * sizes[:-1])
    return np.cumsum(new)[np.searchsorted(sizes, n_params)]


def split(source: Source, question: str, rows: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to fit and those to forecast. "later": stages beyond the fitted ones, of models that
    were also fitted. Else: the largest one or two classes of sizes, all stages.
    """
    if question == "later":
        early = rows["ptpp"] <= source.fit_to
        late = ~early & rows["n_params"].isin(rows["n_params"][early])
        return rows[early], rows[late]
    classes = size_classes(rows["n_params"])
    large = classes > classes.max() - QUESTIONS[question]
    return rows[~large], rows[large]


def last_measured(fitted: pd.DataFrame, asked: pd.DataFrame) -> np.ndarray:
    """The baseline (n,): the loss of the nearest fitted size, at its stage nearest to the asked."""
    sizes, stages = np.log(fitted["n_params"].to_numpy()), np.log(fitted["ptpp"].to_numpy())
    nearest = [
        np.lexsort((np.abs(stages - np.log(row.ptpp)), np.abs(sizes - np.log(row.n_params))))[0]
        for row in asked.itertuples()
    ]
    return fitted["loss"].to_numpy()[nearest]


def with_forecast_base_loss(fitted: pd.DataFrame, asked: pd.DataFrame) -> pd.DataFrame:
    """`asked` with base losses by the tied law of the fitted checkpoints, as if not measured."""
    law = fit("tied", fitted.assign(loss=fitted["base_loss"]), SETTINGS)
    return asked.assign(base_loss=law.loss(asked))


def forecasts(name: str, question: str, kriged: bool = True) -> pd.DataFrame:
    """Observed and predicted losses of every table of a source: train_set, domain, law, n_params,
    ptpp, observed, predicted [nats per token]; low and high, the ends of the 90 % interval, for the
    laws that are kriged, unless `kriged` is False.
    """
    parts = []
    for group, domain, rows in read_tables(name):
        fitted, asked = split(SOURCES[name], question, rows)
        laws = {title: fit(law, fitted, SETTINGS) for title, law in LAWS_SHOWN.items()}
        made = {title: {"predicted": law.loss(asked)} for title, law in laws.items()}
        made[UNCHANGED] = {"predicted": last_measured(fitted, asked)}
        unmeasured = with_forecast_base_loss(fitted, asked)
        made[FORECAST] = {"predicted": laws["`base_power`"].loss(unmeasured)}
        for title in KRIGED if kriged else ():
            drift = None if question == "later" else SETTINGS
            table = krige(laws[title], settings=drift).predict(asked)
            table = table.rename(columns={"loss": "predicted"})
            ends = ("predicted", "low", "high")
            made[f"{title}, kriged"] = {key: table[key].to_numpy() for key in ends}
        columns = asked[["n_params", "ptpp"]].assign(observed=asked["loss"])
        parts += [
            columns.assign(train_set=group, domain=domain, law=title, **values)
            for title, values in made.items()
        ]
    return pd.concat(parts, ignore_index=True)


def errors(table: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """MAErel in percent, first within every table, then averaged over the tables of each `by`."""
    keys = list(dict.fromkeys([*by, "train_set", "domain"]))
    each = table.groupby(keys, sort=False)[["observed", "predicted"]].apply(
        lambda part: 100 * score(part["observed"], part["predicted"])["mae_rel"]
    )
    return each.groupby(level=list(by), sort=False).mean()


def measure(names: Sequence[str], kriged: bool = True) -> dict[str, pd.DataFrame]:
    """The tables of the page by name, with the columns or rows of these sources alone.

    `kriged` False: without the table of intervals, which takes most of the time.
    """
    pairs = product(names, QUESTIONS)
    made = {(name, question): forecasts(name, question, kriged) for name, question in pairs}
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in BLOCKS}
    for name in names:
        source = SOURCES[name]
        later = made[name, "later"]
        asked = later[later["ptpp"].between(*source.forecast)]
        tables["splits"].append(describe_split(name, asked))
        tables["later"].append(errors(asked, ["law"]).to_frame(source.title))
        for stage in source.stages:
            rows = later[np.isclose(later["ptpp"], stage, rtol=0.02)]
            tables["distance"].append(errors(rows, ["law"]).to_frame(f"{source.title}, {stage}"))
        for question in list(QUESTIONS)[1:]:
            table = errors(made[name, question], ["law"])
            tables["larger"].append(table.to_frame(f"{source.title}, {question}"))
        by_domain = errors(asked, ["law", "domain"]).unstack("law")[list(OF_DOMAINS)]
        tables["domains"].append(by_domain.rename(lambda d, t=source.title: f"{t}: {d}"))
        parts = {"later": asked} | {q: made[name, q] for q in list(QUESTIONS)[1:]}
        if kriged:
            rows = {f"{source.title}, {q}": intervals(part) for q, part in parts.items()}
            tables["intervals"].append(pd.DataFrame(rows).T)
        if len(source.sets) > 1:
            tables["carry"].append(carry_over(name))
        tables["wins"].append(count_wins(asked).to_frame(source.title))
    across = (
        "splits",
        "domains",
        "carry",
        "intervals",
    )  # these grow by rows, the others by columns
    joined = {
        key: pd.concat(parts, axis=0 if key in across else 1)
        for key, parts in tables.items()
        if parts
    }
    for key in {"later", "distance", "larger"} & set(joined):
        joined[key] = joined[key].reindex(list(ROWS))
    return joined


def describe_split(name: str, asked: pd.DataFrame) -> pd.DataFrame:
    """One row: how many tables a source has, and what is fitted and forecast in each."""
    source, tables = SOURCES[name], list(read_tables(name))
    rows = tables[0][2]
    fitted = split(source, "later", rows)[0]
    sizes = sorted(rows["n_params"].unique())
    values = {
        "tables": len(tables),
        "checkpoints": sum(len(table) for table in {group: t for group, _, t in tables}.values()),
        "parameters": f"{_short(sizes[0])} to {_short(sizes[-1])}",
        "fitted PTPP": f"{fitted['ptpp'].min():.0f} to {fitted['ptpp'].max():.0f}",
        "forecast PTPP": " to ".join(
            sorted({f"{p:.0f}" for p in asked["ptpp"].agg(["min", "max"])})
        ),
        "classes of sizes": len(set(size_classes(rows["n_params"]))),
    }
    return pd.DataFrame(values, index=pd.Index([source.title]))


def _short(count: float) -> str:
    return f"{count / 1e9:.1f}B" if count >= 1e9 else f"{count / 1e6:.0f}M"


def count_wins(table: pd.DataFrame) -> pd.Series:
    """In how many tables `base_power` has a lower error than others, by whom; and of how many."""
    each = errors(table, ["train_set", "domain", "law"]).unstack("law")
    power, others = each["`base_power`"], each[[UNCHANGED, *OF_TOKENS]]
    wins = {f"than {title}": int((power < others[title]).sum()) for title in others}
    return pd.Series({**wins, "than all of these": int((power < others.min(axis=1)).sum())})


def carry_over(name: str) -> pd.DataFrame:
    """Errors in percent where a law of one training set forecasts the models of another one.

    The base domain is that of the first training set for all of them. `same model`: the loss of the
    model of the same size and stage that was trained on the other set.
    """
    source = SOURCES[name]
    first, common = next(iter(source.sets.items()))
    skipped = {common, *(twin for group, twin in source.twins if group == first)}
    columns = ["train_set", "domain", "n_params", "ptpp", "loss"]
    table = pd.read_csv(FOLDER / f"{name}.csv", usecols=columns)
    keys = ["train_set", "n_params", "ptpp"]
    base = table[table["domain"] == common].set_index(keys)["loss"].rename("base_loss")
    table = table[~table["domain"].isin(skipped)].join(base, on=keys)
    rows: dict[str, dict[str, list[float]]] = {}
    for _, part in table.groupby("domain"):
        groups = dict(list(part.groupby("train_set")))
        for one, other in permutations(source.sets, 2):
            fitted = fit(POWER, groups[one], SETTINGS)
            pairs = groups[other].merge(groups[one], on=keys[1:], suffixes=("", "_other"))
            row = rows.setdefault(f"{one}, {other}", {"same model": [], "`base_power`": []})
            same = score(pairs["loss"], pairs["loss_other"])["mae_rel"]
            row["same model"].append(100 * same)
            row["`base_power`"].append(100 * fitted.score(groups[other])["mae_rel"])
            row.setdefault("`base_power`, own set", []).append(
                100 * fitted.score(groups[one])["mae_rel"]
            )
    means = {pair: {k: float(np.mean(v)) for k, v in row.items()} for pair, row in rows.items()}
    return pd.DataFrame(means).T


def intervals(table: pd.DataFrame) -> dict[str, float]:
    """Of every kriged law: errors without and with the misfit, share of losses within the 90 %
    interval and half its width, all in percent and averaged over tables.
    """
    row = {}
    for title in KRIGED:
        part = table[table["law"] == f"{title}, kriged"]
        inside = part["observed"].between(part["low"], part["high"])
        width = np.log(part["high"] / part["low"]) / 2
        by = [part["train_set"], part["domain"]]
        row[f"{title}, law"] = errors(table[table["law"] == title], ["law"]).iloc[0]
        row[f"{title}, kriged"] = errors(part, ["law"]).iloc[0]
        row[f"{title}, within"] = 100 * inside.groupby(by).mean().mean()
        row[f"{title}, half-width"] = 100 * width.groupby(by).mean().mean()
    return row


def write_table(table: pd.DataFrame, first: str) -> str:
    """A table as Markdown; of every column of errors the least is bold, texts and counts stay."""
    is_error = {c: table[c].dtype.kind == "f" for c in table}
    digits = {c: 0 if str(c).endswith("within") else 2 for c in table}
    kinds = ["---", *("---:" if table[c].dtype.kind in "fi" else "---" for c in table)]
    lines = [f"| {first} | {' | '.join(table)} |", f"|{'|'.join(kinds)}|"]
    shown = {
        c: [f"{value:.{digits[c]}f}" if is_error[c] else str(value) for value in table[c]]
        for c in table
    }
    for row, label in enumerate(table.index):
        cells = [
            f"**{shown[c][row]}**"
            if first == "forecast by" and table[c].iloc[row] == table[c].min()
            else shown[c][row]
            for c in table
        ]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def read_table(text: str) -> dict[tuple[str, str], str]:
    """The cells of a Markdown table by row and column, without bold."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip().replace("**", "") for cell in line[1:-1].split("|")] for line in lines]
    return {
        (row[0], column): cell
        for row in rows[2:]
        for column, cell in zip(rows[0], row, strict=True)
    }


def find_differences(page: str, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """The cells of `tables` that the page shows otherwise, or not at all."""
    found = []
    for name, table in tables.items():
        shown = read_table(split_page(page, name)[1])
        made = read_table(write_table(table, BLOCKS[name]))
        found += [
            f"{name}, {row}, {column}"
            for (row, column), cell in made.items()
            if not _agree(shown.get((row, column), ""), cell, column)
        ]
    return found


def _agree(shown: str, made: str, column: str) -> bool:
    if shown == made:
        return True
    try:
        old, new = float(shown), float(made)
    except ValueError:
        return False
    if column.endswith("within"):
        return abs(old - new) <= SLACK_WITHIN
    return "." in made and abs(old - new) <= SLACK[0] + SLACK[1] * abs(new)


def split_page(page: str, name: str) -> tuple[str, str, str]:
    """The page before, within and after the markers of a table."""
    before, rest = page.split(BEGIN.format(name))
    within, after = rest.split(END, 1)
    return before, within, after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", nargs="*", metavar="TABLE", choices=SOURCES)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    check = options.check
    tables = measure(check or list(SOURCES), kriged=check is None or not options.quick)
    page = PAGE.read_text()
    if check is None:
        for name, table in tables.items():
            before, _, after = split_page(page, name)
            text = write_table(table, BLOCKS[name])
            page = f"{before}{BEGIN.format(name)}\n{text}\n{END}{after}"
        write_text(PAGE, page)
        return
    differing = find_differences(page, tables)
    if differing:
        sys.exit(f"{PAGE}: other numbers for {'; '.join(differing)}; run {__file__}")


if __name__ == "__main__":
    main()
