"""The tables of docs/evidence.md, from the published tables in resources/published/.

    python benchmarks/evidence.py [--check [TABLE ...]]

Forecasts losses of real models by laws of size and tokens and by a law of the checkpoint's own base
loss, and writes the errors between the markers in docs/evidence.md. `--check` writes nothing and
fails where the page's numbers of these tables (all, if none is named) differ by more than another
machine's arithmetic can change them.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from ptpp.laws.scoring import score
from ptpp.table.observations import read_observations

PAGE = ROOT / "docs" / "evidence.md"
FOLDER = ROOT / "resources" / "published"
SETTINGS = FitSettings(starts=12)
NEEDS = ("n_params", "ptpp", "adapt_tokens", "base_loss")
SAME_CLASS = 1.5  # a model over so many times the next smaller one begins a class of sizes
SLACK = 0.02, 0.03  # percent, and of the value: what another machine's arithmetic may change
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
TIED = load_law(ROOT / "resources" / "laws" / "tied.yaml")
POWER = load_law(ROOT / "resources" / "laws" / "base_power.yaml")
LAWS_SHOWN = {
    "`chinchilla`": LAWS["chinchilla"],
    "`tied`": TIED,
    "floor in PTPP": _declare("floor_ptpp", "E + A*n**-alpha + G*p**-0.4", **_FLOOR),
    "floor in tokens": _declare("floor_tokens", "E + A*n**-alpha + G*d**-0.4", **_FLOOR),
    "`base_exp`": _declare(
        "base_exp", "K*exp(lam*(base_loss - 3))", K=(1e-4, 100), lam=(-2.0, 3.0)
    ),
    "`base_power`": POWER,
}
UNCHANGED, FORECAST = "unchanged", "`base_power`, base loss forecast"
ROWS = (UNCHANGED, *LAWS_SHOWN, FORECAST)
OF_TOKENS = tuple(LAWS_SHOWN)[:4]
OF_DOMAINS = (UNCHANGED, "`chinchilla`", "`tied`", "`base_exp`", "`base_power`")
# The tables of the page, and the head of their first column.
BLOCKS = {
    "splits": "source",
    "later": "forecast by",
    "wins": "`base_power` is closer",
    "distance": "forecast by",
    "domains": "domain",
    "larger": "forecast by",
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
    law = fit(TIED, fitted.assign(loss=fitted["base_loss"]), SETTINGS)
    return asked.assign(base_loss=law.loss(asked))


def forecasts(name: str, question: str) -> pd.DataFrame:
    """Observed and predicted losses of every table of a source: train_set, domain, law, n_params,
    ptpp, observed, predicted [nats per token].
    """
    parts = []
    for group, domain, rows in read_tables(name):
        fitted, asked = split(SOURCES[name], question, rows)
        laws = {title: fit(law, fitted, SETTINGS) for title, law in LAWS_SHOWN.items()}
        predicted = {title: law.loss(asked) for title, law in laws.items()}
        predicted[UNCHANGED] = last_measured(fitted, asked)
        predicted[FORECAST] = laws["`base_power`"].loss(with_forecast_base_loss(fitted, asked))
        columns = asked[["n_params", "ptpp"]].assign(observed=asked["loss"])
        parts += [
            columns.assign(train_set=group, domain=domain, law=title, predicted=values)
            for title, values in predicted.items()
        ]
    return pd.concat(parts, ignore_index=True)


def errors(table: pd.DataFrame, by: Sequence[str]) -> pd.Series:
    """MAErel in percent, first within every table, then averaged over the tables of each `by`."""
    keys = list(dict.fromkeys([*by, "train_set", "domain"]))
    each = table.groupby(keys, sort=False)[["observed", "predicted"]].apply(
        lambda part: 100 * score(part["observed"], part["predicted"])["mae_rel"]
    )
    return each.groupby(level=list(by), sort=False).mean()


def measure(names: Sequence[str]) -> dict[str, pd.DataFrame]:
    """The tables of the page by name, with the columns or rows of these sources alone."""
    made = {(name, question): forecasts(name, question) for name in names for question in QUESTIONS}
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
        tables["wins"].append(count_wins(asked).to_frame(source.title))
    across = ("splits", "domains")  # these grow by rows, the others by columns
    joined = {k: pd.concat(parts, axis=0 if k in across else 1) for k, parts in tables.items()}
    for key in ("later", "distance", "larger"):
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
        "models": len(rows) * len(source.sets),
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


def write_table(table: pd.DataFrame, first: str) -> str:
    """A table as Markdown; of every column of errors the least is bold, texts and counts stay."""
    is_error = {c: table[c].dtype.kind == "f" for c in table}
    kinds = ["---", *("---:" if table[c].dtype.kind in "fi" else "---" for c in table)]
    lines = [f"| {first} | {' | '.join(table)} |", f"|{'|'.join(kinds)}|"]
    shown = {c: table[c].map("{:.2f}".format) if is_error[c] else table[c].map(str) for c in table}
    for label in table.index:
        cells = [
            f"**{shown[c][label]}**"
            if is_error[c] and first == "forecast by" and table[c][label] == table[c].min()
            else shown[c][label]
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
        shown = read_table(_parts(page, name)[1])
        made = read_table(write_table(table, BLOCKS[name]))
        found += [
            f"{name}, {row}, {column}"
            for (row, column), cell in made.items()
            if not _agree(shown.get((row, column), ""), cell)
        ]
    return found


def _agree(shown: str, made: str) -> bool:
    if shown == made:
        return True
    try:
        old, new = float(shown), float(made)
    except ValueError:
        return False
    return "." in made and abs(old - new) <= SLACK[0] + SLACK[1] * abs(new)


def _parts(page: str, name: str) -> tuple[str, str, str]:
    """The page before, within and after the markers of a table."""
    before, rest = page.split(BEGIN.format(name))
    within, after = rest.split(END, 1)
    return before, within, after


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", nargs="*", metavar="TABLE", choices=SOURCES)
    check = parser.parse_args().check
    tables, page = measure(check or list(SOURCES)), PAGE.read_text()
    if check is None:
        for name, table in tables.items():
            before, _, after = _parts(page, name)
            text = write_table(table, BLOCKS[name])
            page = f"{before}{BEGIN.format(name)}\n{text}\n{END}{after}"
        write_text(PAGE, page)
        return
    differing = find_differences(page, tables)
    if differing:
        sys.exit(f"{PAGE}: other numbers for {'; '.join(differing)}; run {__file__}")


if __name__ == "__main__":
    main()
