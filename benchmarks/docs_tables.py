"""The tables and number sentences of the docs, from the small files in resources/results/.

    python benchmarks/docs_tables.py [--check]
    python benchmarks/docs_tables.py --collect shipped=results/shipped laptop=results/laptop
    python benchmarks/docs_tables.py --figures shipped=results/shipped laptop=results/laptop
    python benchmarks/docs_tables.py --zoo
    python benchmarks/docs_tables.py --outputs

The first writes every block between markers; `--check` writes nothing and fails where a page shows
otherwise. `--collect` copies what the blocks show from a run's results, `--figures` the pictures in
docs/figures/ that the run has drawn, `--zoo` fits every target
law to the shipped table, and `--outputs` runs the commands whose output docs/plan.md shows.
"""

import argparse
import json
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from shutil import copyfile

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # a script finds only its own folder

import pandas as pd
import yaml

from ptpp.jobs.files import atomic_file, read_json, write_text
from ptpp.laws import LAWS, Experiment, FitSettings, bootstrap
from ptpp.laws.comparison import coverage_table
from ptpp.laws.experiment import score_table
from ptpp.laws.misfit import krige
from ptpp.table.anchors import choose_anchors, grid_of, measured_cells
from ptpp.table.observations import read_observations

FOLDER = ROOT / "resources" / "results"
TABLE = ROOT / "resources" / "observations" / "laptop-real.csv"
BEGIN, END = "<!-- benchmarks/docs_tables.py: {} -->", "<!-- end -->"
TARGET = "fr"
SHOWN = ("dcpt", "floor", "gated", "gated_floor", "state", "state_without_offset")
LEVELS = {"early": "early stages", "zero_shot": "+ zero-shot losses", "anchors": "+ 20 anchors"}
DOCS_FIGURES = ROOT / "docs" / "figures"
PICTURES = {"shipped": "real", "laptop": "laptop"}  # how their names begin
SCALES = {"shipped": "real text", "laptop": "default run"}
# Tables of a run that are shown, by their path in its results, with the columns that are.
COLLECTED = {
    "tables/scores": (
        *("law", "protocol", "domain", "information", "forecast", "n_fit", "n_held_out"),
        *("mae_rel", "huber_log", "calibration_slope", "rmse", "noise_floor"),
    ),
    "tables/coverage": (
        *("law", "protocol", "domain", "information", "forecast", "n_held_out"),
        *("coverage", "coverage_largest", "mean_width", "drawn"),
    ),
    "tables/comparison": (
        *("protocol", "domain", "forecast", "law", "other"),
        *("difference", "low", "high", "probability"),
    ),
    "tables/anchor_sweep": (
        *("law", "domain", "choice", "count", "repeat", "n_held_out", "mae_rel", "law_mae_rel"),
    ),
    "tables/plan_regret": (
        *("goal", "law", "protocol", "kind", "cases", "declared", "met", "best_cell"),
        *("excess_mean", "excess_max", "compute_ratio", "compute_ratio_max", "loss_regret"),
    ),
}
OUTPUTS = {
    "plan-within": (
        "python -m ptpp plan resources/observations/laptop-real.csv --target fr --n-params 87360 "
        "--ptpp 279 --target-loss 3.1 --limit en=0.5 --max-atpp 64"
    ),
    "plan-beyond": (
        "python -m ptpp plan resources/observations/laptop-real.csv --target fr --n-params 8.1e9 "
        "--ptpp 279 --limit en=0.5 --limit ar=0.5"
    ),
    "plan-beyond-by-ptpp": (
        "python -m ptpp plan resources/observations/laptop-real.csv --target fr --n-params 8.1e9 "
        "--ptpp 279 --limit en=0.5 --limit ar=0.5 --law gated_floor --break-even --next 5"
    ),
}


@cache  # every number of a page reads its table
def _read(path: Path, changed: int) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


@dataclass(frozen=True)
class Results:
    """The committed tables of one run."""

    folder: Path

    @classmethod
    def of(cls, scale: str) -> "Results":
        return cls(FOLDER / scale)

    def table(self, name: str) -> pd.DataFrame:
        path = self.folder / f"{name}.csv"
        return _read(path, path.stat().st_mtime_ns).copy()

    def find(self, name: str, **labels: object) -> pd.Series | None:
        """The one row with these labels; None where there is none."""
        rows = self.table(name)
        for column, value in labels.items():
            rows = rows[rows[column] == value]
        if len(rows) > 1:
            raise ValueError(f"{self.folder / name}.csv: {len(rows)} rows of {labels}")
        return None if rows.empty else rows.iloc[0]

    def error(
        self, law: str, information: str, forecast: str = "kriged", domain: str = TARGET
    ) -> float | None:
        """MAErel in percent."""
        labels = {"law": law, "information": information, "forecast": forecast, "domain": domain}
        row = self.find("scores", **labels)
        return None if row is None else 100 * float(row["mae_rel"])

    def covered(
        self, law: str, information: str, forecast: str = "kriged", domain: str = TARGET
    ) -> float | None:
        """Coverage of 90 % intervals in percent."""
        labels = {"law": law, "information": information, "forecast": forecast, "domain": domain}
        row = self.find("coverage", **labels)
        return None if row is None else 100 * float(row["coverage"])

    def noise(self, domain: str = TARGET, law: str = "dcpt") -> float:
        """Seed noise of one run at the held-out stage, in percent, of the cells a law speaks of."""
        rows = self.table("scores")
        rows = rows[(rows["domain"] == domain) & (rows["law"] == law)]
        return 100 * float(rows["noise_floor"].iloc[0])

    def by_anchors(self, law: str, count: int, column: str = "mae_rel") -> float:
        """MAErel in percent with `count` anchors of the choice "spread"."""
        labels = {"law": law, "count": count, "choice": "spread", "domain": TARGET}
        return 100 * float(self.find("anchor_sweep", **labels)[column])

    def regret(self, law: str, protocol: str, kind: str, goal: str = "least_compute") -> pd.Series:
        labels = {"law": law, "protocol": protocol, "kind": kind, "goal": goal}
        row = self.find("plan_regret", **labels)
        if row is None:  # no law has no protocol
            raise ValueError(f"{self.folder}/plan_regret.csv: no row of {labels}")
        return row


# Words and tables.


def number(value: float | None, digits: int = 1) -> str:
    """A number of the docs: .60 and 1.4; a dash where there is none."""
    if value is None or pd.isna(value):
        return "–"
    text = f"{round(value, digits) + 0.0:.{digits}f}"
    return text.removeprefix("0") if text.startswith("0.") else text


def span(values: Sequence[float], digits: int = 1) -> str:
    """Least and greatest of some numbers: "2.6 to 2.8", or one where they look alike."""
    ends = [number(end, digits) for end in (min(values), max(values))]
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def paragraph(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), 100, break_on_hyphens=False)


def bullets(*texts: str) -> str:
    every = [" ".join(text.split()) for text in texts]
    wrap = {"width": 100, "break_on_hyphens": False, "break_long_words": False}
    return "\n".join(
        textwrap.fill(text, initial_indent="- ", subsequent_indent="  ", **wrap) for text in every
    )


def markdown(header: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table whose first `words` columns are texts, and the others numbers."""
    line = ["---"] * words + ["---:"] * (len(header) - words)
    lines = [f"| {' | '.join(header)} |", f"|{'|'.join(line)}|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])


def both(kriged: float | None, law: float | None, digits: int = 1) -> str:
    """A kriged number, and the law's own in brackets where it looks different."""
    first, second = number(kriged, digits), number(law, digits)
    return first if first == second or law is None else f"{first} ({second})"


REAL, DEFAULT = Results.of("shipped"), Results.of("laptop")
EACH = (REAL, DEFAULT)


def readme() -> str:
    names = {"floor": " (Form 1)", "gated": " (Form 2)", "gated_floor": " (Form 3)"}
    header = ["forecast by", *(f"{s}: {LEVELS[i]}" for s in SCALES.values() for i in LEVELS)]
    rows = []
    for law in (*SHOWN[:5], "last_stage"):
        cells = []
        for result in EACH:
            for level in LEVELS:
                pair = [result.error(law, level, forecast) for forecast in ("kriged", "law")]
                cells.append(number(pair[1]) if pair[0] is None else both(*pair))
        label = "the last stage, unchanged" if law == "last_stage" else f"`{law}`"
        rows.append([label + names.get(law, ""), *cells])
    noise = [f"*{number(result.noise())}*" for result in EACH for _ in LEVELS]
    rows.append(["*seed noise of one run*", *noise])
    return markdown(header, rows)


def findings() -> str:
    """The three sentences that README begins with."""
    state = [result.error("state", "zero_shot") for result in EACH]
    alone = [result.error("state", "zero_shot", "law") for result in EACH]
    baseline = [result.error("dcpt", "early") for result in EACH]
    baseline_alone = [result.error("dcpt", "early", "law") for result in EACH]
    noise = [result.noise() for result in EACH]
    robust = _robust_regret()
    kept, paid = ([row[name] for row in robust] for name in ("met", "compute_ratio"))
    promised = [100 * row["declared"] for row in robust]
    before, after = ([r.by_anchors("gated_floor", n) for r in EACH] for n in (0, 3))
    far = [result.by_anchors("state", count) for result in EACH for count in (0, 3)]
    return bullets(
        f"""**One evaluation is enough.** The law `state` reads the late checkpoint's own
        loss before adaptation. It predicts the loss after adaptation to **{number(state[0])} %** on
        real text and **{number(state[1])} %** in the default run. D-CPT, which does not know PTPP,
        is {number(baseline[0])} and {number(baseline[1])} % off, both corrected by their misfit;
        uncorrected it is {number(alone[0])} and {number(alone[1])} % against
        {number(baseline_alone[0])} and {number(baseline_alone[1])} %. Another seed alone makes
        {number(noise[0])} and {number(noise[1])} %.""",
        f"""**Three anchors do most of the rest** for laws that read no base loss: on the cells
        that nobody measured, most of them of the largest model, Form 3 (`gated_floor`) goes from
        {number(before[0])} and {number(before[1])} % to **{number(after[0])} and
        {number(after[1])} %**. `state` stays at {span(far)} % there.""",
        f"""**Plans keep their word.** Robust plans by `state` kept the target and every forgetting
        limit in **{span([100 * each for each in kept], 0)} %** of the questions that measured cells
        can answer, at {span(paid)} times the least compute that would have done. They are cautious:
        they promise a plan in {span(promised, 0)} % of the questions that have one.""",
    )


def missed() -> str:
    """What the results do not hold."""
    state, noise = REAL.error("state", "zero_shot"), REAL.noise()
    other = Results.of("six-stages").table("stages")
    other = other[(other["law"] == "state") & (other["forecast"] == "kriged")]
    other = other[(other["anchors"] == 0) & (other["stages"] == "15 31")].set_index("held_out")
    times = other["mae_rel"][279.0] / other["noise_floor"][279.0]
    guessed = [result.error("state", "early") for result in EACH]
    narrow = [
        result.covered("forgetting", level, domain=domain)
        for result in EACH
        for level in ("zero_shot", "anchors")
        for domain in ("en", "ar")
    ]
    cover = [
        result.covered("state", level) for result in EACH for level in ("zero_shot", "anchors")
    ]
    far = [result.by_anchors("state", count) for result in EACH for count in (3, 20)]
    return bullets(
        f"""On real text `state` without anchors is {number(state / noise)} times the seed noise
        off; the aim was twice. On a second table, of other runs and five sizes, it is
        {number(times)} times.""",
        f"""`gated_floor` (Form 3) without anchors is {number(REAL.error("gated_floor", "early"))} %
        off on real text: a held curvature made it worse (it was 3.9 %, by accident).""",
        f"""A base loss that is itself forecast is worth nothing on models this small
        ({span(guessed)} %).""",
        f"""Anchors help `state` at the sizes at which they were measured: on the other cells it
        stays at {span(far)} % with 3 to 20.""",
        f"""90 % intervals of `state` are a little wide (they cover {span(cover, 0)} %), those of
        forgetting too narrow ({span(narrow, 0)} %).""",
        """Kriged, even the baseline comes close: its misfit carries a trend in PTPP.""",
    )


def _robust_regret() -> list[pd.Series]:
    protocols = ("early_to_late", "with_anchors")
    return [result.regret("state", each, "robust") for result in EACH for each in protocols]


def zoo() -> str:
    rows = []
    result = Results.of("zoo")
    laws = [name for name, law in LAWS.items() if law.offset is None and name != "tied"]
    for law in laws:
        level = "zero_shot" if "base_loss" in LAWS[law].inputs else "early"
        cells = [result.find("in_sample", law=law)["mae_rel"] * 100]
        cells += [result.error(law, i, f) for i in (level, "anchors") for f in ("law", "kriged")]
        cover = [result.covered(law, i, f) for i in (level, "anchors") for f in ("law", "kriged")]
        reads = "base loss" if level == "zero_shot" else "–"
        rows.append(
            [f"`{law}`", reads, *(number(c) for c in cells), *(number(c, 0) for c in cover)]
        )
    header = ["law", "reads", "in-sample", "held-out", "kriged", "anchors", "kriged"]
    header += ["cover", "kriged", "cover, anchors", "kriged"]
    return markdown(header, rows, 2)


def forgetting() -> str:
    header = [
        "scale",
        "domain",
        "information",
        "law alone",
        "kriged",
        "cover",
        "last stage's change",
    ]
    rows = []
    for result, scale in zip(EACH, SCALES.values(), strict=True):
        for domain in ("en", "ar"):
            for level in ("zero_shot", "anchors"):
                each = ["forgetting", level]
                unchanged = result.error("last_stage", level, "law", domain)
                rows.append(
                    [
                        *(scale, domain, LEVELS[level].removeprefix("+ ")),
                        number(result.error(*each, "law", domain), 2),
                        number(result.error(*each, "kriged", domain), 2),
                        number(result.covered(*each, "kriged", domain), 0),
                        number(unchanged, 2),
                    ]
                )
            noise = number(result.noise(domain, "forgetting"), 2)
            rows.append([scale, domain, "*seed noise of one run*", f"*{noise}*", "", "", ""])
    return markdown(header, rows, 3)


def scores(scale: str) -> Callable[[], str]:
    def table() -> str:
        result = Results.of(scale)
        header = ["law", "information", "forecast", "cells", "MAErel %", "Huber-on-log x 1e5"]
        header += ["slope", "RMSE (nats)", "coverage %", "coverage %, largest size"]
        rows = []
        every = result.table("scores")
        every = every[every["domain"] == TARGET]
        order = {name: place for place, name in enumerate((*LEVELS, *SHOWN, "last_stage"))}
        keys = [every[name].map(order) for name in ("information", "law")]
        every = every.assign(level=keys[0], place=keys[1])
        every = every.sort_values(["level", "place", "forecast"], ascending=[True, True, False])
        for row in every.to_dict("records"):
            labels = {k: row[k] for k in ("law", "information", "forecast", "domain")}
            inside = result.find("coverage", **labels)
            share = (
                ["–"] * 2
                if inside is None
                else [number(100 * inside[name], 0) for name in ("coverage", "coverage_largest")]
            )
            law = "last stage, unchanged" if row["law"] == "last_stage" else f"`{row['law']}`"
            rows.append(
                [
                    *(law, LEVELS[row["information"]].removeprefix("+ ")),
                    "law alone" if row["forecast"] == "law" else "kriged",
                    str(row["n_held_out"]),
                    number(100 * row["mae_rel"], 2),
                    number(1e5 * row["huber_log"], 2),
                    number(row["calibration_slope"], 2),
                    number(row["rmse"], 3),
                    *share,
                ]
            )
        noise = f"\n\nSeed noise of one run: {number(result.noise(), 2)} %."
        return markdown(header, rows, 3) + noise

    return table


def compared(scale: str) -> Callable[[], str]:
    def text() -> str:
        table = Results.of(scale).table("comparison")
        table = table[(table["domain"] == TARGET) & (table["forecast"] == "kriged")]
        lines = []
        words = {"early_to_late": "Without anchors", "with_anchors": "With anchors"}
        for protocol, when in words.items():
            rows = table[table["protocol"] == protocol]
            best = rows["law"].iloc[0]
            others = rows[rows["law"] == best]
            parts = [
                f"`{row['other']}` by {number(-100 * row['difference'], 2)} points (90 %: "
                f"{number(-100 * row['high'], 2)} to {number(-100 * row['low'], 2)})"
                for row in others.to_dict("records")
            ]
            lines.append(
                f"{when} `{best}`, kriged, has the lowest error: it beats {', '.join(parts)}."
            )
        return bullets(*lines)

    return text


def levels() -> str:
    header = ["law", "information"]
    for scale in SCALES.values():
        header += [f"{scale}: law alone", "kriged", "cover: law", "kriged"]
    rows = []
    for level, words in LEVELS.items():
        for law in (*SHOWN, "last_stage"):
            cells = []
            for result in EACH:
                cells += [number(result.error(law, level, f), 2) for f in ("law", "kriged")]
                cells += [number(result.covered(law, level, f), 0) for f in ("law", "kriged")]
            if any(cell != "–" for cell in cells):
                label = "last stage, unchanged" if law == "last_stage" else f"`{law}`"
                rows.append([label, words.removeprefix("+ "), *cells])
    noise = []
    for result in EACH:
        noise += [f"*{number(result.noise(), 2)}*", "", "", ""]
    rows.append(["*seed noise of one run*", "", *noise])
    return markdown(header, rows, 2)


def anchors() -> str:
    header = ["law", *(f"{s}: {k}" for s in SCALES.values() for k in (0, 1, 3, 5, 10, 20))]
    rows = [
        [f"`{law}`"]
        + [number(r.by_anchors(law, count)) for r in EACH for count in (0, 1, 3, 5, 10, 20)]
        for law in SHOWN
    ]
    return markdown(header, rows)


def stages(column: str) -> Callable[[], str]:
    """Means of a column of benchmarks/stages.py in percent, by how far the forecast reaches."""

    def table() -> str:
        every = Results.of("six-stages").table("stages")
        every["seen"] = every["stages"].str.count(" ") + 1
        every["doublings"] = every["distance"].round().astype(int)
        reach = sorted(every["doublings"].unique())
        places = [(seen, far) for seen in (2, 3) for far in reach]
        places = [(s, f) for s, f in places if ((every.seen == s) & (every.doublings == f)).any()]
        header = ["law", "knows", *(f"{seen} stages: {far}" for seen, far in places)]

        def cells(rows: pd.DataFrame, name: str) -> list[str]:
            means = rows.groupby(["seen", "doublings"])[name].mean()
            return [number(100 * means.get(place, float("nan")), 1) for place in places]

        rows = []
        kriged = every[every["forecast"] == "kriged"].groupby(
            ["anchors", "law", "information"], sort=False
        )
        for (anchors, law, information), part in kriged:
            words = {"early": "early stages", "zero_shot": "zero-shot losses"}
            knows = words.get(information, f"{anchors} anchors")
            rows.append([f"`{law}`", knows, *cells(part, column)])
        rows.sort(key=lambda row: [*words.values(), "3 anchors", "20 anchors"].index(row[1]))
        if column == "mae_rel":
            unchanged = every[every["law"] == "last_stage"]
            place = sum(row[1] == "early stages" for row in rows)
            label = ["last stage, unchanged", "early stages"]
            rows.insert(place, [*label, *cells(unchanged, column)])
            noise = [f"*{cell}*" for cell in cells(unchanged, "noise_floor")]
            rows.append(["*seed noise of one run*", "", *noise])
        return markdown(header, rows, 2)

    return table


def regret(scale: str) -> Callable[[], str]:
    def table() -> str:
        header = ["law", "protocol", "kind", "promised %", "kept %", "best %", "excess", "largest"]
        rows = []
        every = Results.of(scale).table("plan_regret")
        for row in every[every["goal"] == "least_compute"].to_dict("records"):
            no_law = row["law"] == "last_stage"
            rows.append(
                [
                    "the stage before, no law" if no_law else f"`{row['law']}`",
                    "–" if no_law else row["protocol"],
                    row["kind"],
                    *(number(100 * row[name], 0) for name in ("declared", "met", "best_cell")),
                    number(row["excess_mean"], 3),
                    number(row["excess_max"], 2),
                    number(row["compute_ratio"], 2),
                ]
            )
        return markdown([*header, "compute"], rows, 3)

    return table


def regret_words() -> str:
    texts = []
    for result, scale in zip(EACH, SCALES.values(), strict=True):
        rows = result.table("plan_regret")
        rows = rows[(rows["goal"] == "least_compute")]
        robust, point = rows[rows["kind"] == "robust"], rows[rows["law"] == "state"]
        point = point[point["kind"] == "point"]
        ours = robust[robust["law"] == "state"]
        others = robust[~robust["law"].isin(["state", "state_without_offset"])]
        texts.append(
            f"""{scale.capitalize()}: robust plans by `state` keep all limits in
            {span(100 * ours["met"], 0)} % of the questions (aim: 90) at
            {span(ours["compute_ratio"], 2)} times the compute of the best cell, and promise
            {span(100 * ours["declared"], 0)} % of what is reachable; its point plans keep
            {span(100 * point["met"], 0)} %. Robust plans by the laws that do not read the base
            loss keep {span(100 * others["met"], 0)} % at {span(others["compute_ratio"], 2)} times
            the best compute."""
        )
    return bullets(*texts)


def output(name: str) -> Callable[[], str]:
    def text() -> str:
        shown = (FOLDER / "shipped" / f"{name}.txt").read_text().rstrip()
        return f"    {OUTPUTS[name]}\n\n```\n{shown}\n```"

    return text


def first_plan() -> str:
    """The command that README begins with, what it prints and what that says."""
    shown = (FOLDER / "shipped" / "plan-within.txt").read_text()
    replay, atpp = re.search(r"robust plan.*?: replay (\S+), ATPP (\S+)", shown).groups()
    met = re.search(r"all limits are met in (\d+)%", shown)[1]
    share, tokens = 100 * float(replay), float(atpp)
    words = f"""Read: give {share:.0f} % of the tokens to replay and read {tokens:.2g} tokens per
        parameter. A target loss of 3.1 nats and at most half a nat of English forgotten
        are then both kept in {met} % of the draws of the forecast."""
    return f"{output('plan-within')()}\n\n{paragraph(words)}"


def tokenisation() -> str:
    """How fast text becomes a store, and where that was measured."""
    table = pd.read_csv(FOLDER / "tokenisation.csv")
    machine = read_json(FOLDER / "tokenisation.json")["machine"]
    rates = table["tokens"] / table["cpu_seconds"]
    header = ["one process, one thread", "million tokens a CPU second"]
    rows = [[way, f"{rate / 1e6:.2f}"] for way, rate in zip(table["way"], rates, strict=True)]
    hours = 1e9 / rates.iloc[0] / 3600
    words = f"""Measured on {machine}. At that rate one process tokenises a billion tokens in
        {hours:.1f} hours."""
    return f"{markdown(header, rows)}\n\n{paragraph(words)}"


def tokenizer_memory() -> str:
    """What training a tokenizer takes."""
    found = read_json(FOLDER / "tokenisation.json")
    text, grown = found["text_bytes"], found["grown_bytes"]
    return paragraph(
        f"""On {text / 1e6:.0f} MB of novels in {found["languages"]} languages the trainer's memory
        grew by {grown / 1e6:.0f} MB, {grown / text:.0f} bytes a byte of text."""
    )


def acceptance() -> str:
    """What the acceptance found on a GPU, and how fast it was."""
    lines = (FOLDER / "gpu" / "h200.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    facts = next(each for each in records if each["section"] == "env")
    passed = sum(each["ok"] for each in records)
    words = f"""In its last run {passed} of {len(records)} checks passed on one {facts["card"]}
        ({facts["memory_gb"]} GB, driver {facts["driver"]}, torch {facts["torch"]}, transformers
        {facts["transformers"]})."""
    header = ["what", "tokens/s", "MFU", "peak memory, GB", "counted by `cost`, GB"]
    rows = []
    for each in records:
        cells = [each.get(name) for name in ("tokens_per_s", "mfu", "peak_gb", "counted_gb")]
        if any(cell is not None for cell in cells):
            speed, share, *memory = cells
            shown = ["–" if speed is None else f"{speed:,}"]
            shown += ["–" if share is None else f"{100 * share:.2g} %"]
            shown += ["–" if cell is None else f"{cell:.3g}" for cell in memory]
            rows.append([each["check"], *shown])
    return f"{paragraph(words)}\n\n{markdown(header, rows)}"


BLOCKS: dict[str, tuple[str, Callable[[], str]]] = {
    "results": ("README.md", readme),
    "findings": ("README.md", findings),
    "what missed": ("README.md", missed),
    "try": ("README.md", first_plan),
    "zoo": ("docs/laws.md", zoo),
    "forgetting": ("docs/laws.md", forgetting),
    "scores, real text": ("docs/reproduction.md", scores("shipped")),
    "comparison, real text": ("docs/reproduction.md", compared("shipped")),
    "scores, default run": ("docs/reproduction.md", scores("laptop")),
    "comparison, default run": ("docs/reproduction.md", compared("laptop")),
    "levels": ("docs/forecasts.md", levels),
    "anchors": ("docs/forecasts.md", anchors),
    "stages, errors": ("docs/forecasts.md", stages("mae_rel")),
    "stages, coverage": ("docs/forecasts.md", stages("coverage")),
    "regret, real text": ("docs/plan.md", regret("shipped")),
    "regret, default run": ("docs/plan.md", regret("laptop")),
    "regret in words": ("docs/plan.md", regret_words),
    "tokenisation": ("docs/corpora.md", tokenisation),
    "tokenizer memory": ("docs/corpora.md", tokenizer_memory),
    "acceptance": ("docs/gpus.md", acceptance),
    **{name: ("docs/plan.md", output(name)) for name in OUTPUTS},
}


def split_page(page: str, name: str) -> tuple[str, str, str]:
    """The page before, within and after the markers of a block."""
    before, rest = page.split(BEGIN.format(name))
    within, after = rest.split(END, 1)
    return before, within, after


def write_block(page: str, name: str, text: str) -> str:
    before, _, after = split_page(page, name)
    return f"{before}{BEGIN.format(name)}\n{text}\n{END}{after}"


def find_differences(root: Path = ROOT) -> list[str]:
    """The blocks that pages under `root` show otherwise."""
    found = []
    for name, (path, make) in BLOCKS.items():
        page = (root / path).read_text()
        if BEGIN.format(name) not in page or write_block(page, name, make()) != page:
            found.append(f"{path}, {name}")
    return found


# Where the files come from.


def collect(scale: str, results: Path) -> None:
    """Copy the tables of a run that the docs show, with six significant digits."""
    for name, columns in COLLECTED.items():
        table = pd.read_csv(results / f"{name}.csv", keep_default_na=False, na_values=[""])
        table = table.reindex(columns=list(columns))
        path = FOLDER / scale / f"{Path(name).name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, table.to_csv(index=False, float_format="%.6g"))


def copy_figures(scale: str, results: Path) -> None:
    """Copy anew every picture of the docs that is a figure of this scale."""
    prefix = PICTURES[scale]
    for picture in sorted(DOCS_FIGURES.glob(f"{prefix}-*.png")):
        name = picture.name.removeprefix(f"{prefix}-").replace("-", "_")
        with atomic_file(picture) as temporary:
            copyfile(results / "figures" / name, temporary)


def experiment(config: dict) -> Experiment:
    """The shipped table with the held-out stage and the number of anchors of config.yaml."""
    observations = read_observations(TABLE)
    held_out, anchors = config["held_out"]["ptpp"], config["held_out"]["anchors"]
    of_target = observations[observations["domain"] == TARGET]
    grid = grid_of(of_target, held_out)
    measured = measured_cells(of_target, held_out)
    cells = choose_anchors(grid, anchors["count"], anchors["seed"], measured)
    return Experiment(observations, held_out, tuple(cells))


def fit_laws(
    names: Sequence[str], starts: int, draws: int = 0, protocols: Sequence[str] = ()
) -> tuple[list, Experiment]:
    """Kriged fits of target laws to the shipped table; without draws no intervals of laws alone."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    place, laws = experiment(config), config["laws"]
    settings = FitSettings(laws["huber_delta"], starts, laws["seed"])
    fits = []
    for name in names:
        for protocol in protocols or ("early_to_late", "with_anchors"):
            fitted = place.fit(name, protocol, TARGET, settings)
            if draws:
                fitted = bootstrap(fitted, draws, laws["seed"])
            fits.append(krige(fitted, place.held_out))
    return fits, place


def measure_zoo() -> None:
    """Write the scores and the coverage of every target law on the shipped table."""
    names = [name for name, law in LAWS.items() if law.offset is None and name != "tied"]
    fits, place = fit_laws(names, 32, 200)
    early = [one for one in fits if one.record.protocol == "early_to_late"]
    seen = pd.DataFrame(
        [{"law": one.record.law, "mae_rel": one.score(one.rows)["mae_rel"]} for one in early]
    )
    tables = {"scores": score_table(fits, place), "coverage": coverage_table(fits, place)}
    (FOLDER / "zoo").mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        tables[name] = table.reindex(columns=list(COLLECTED[f"tables/{name}"]))
    for name, table in (tables | {"in_sample": seen}).items():
        text = table.to_csv(index=False, float_format="%.6g")
        write_text(FOLDER / "zoo" / f"{name}.csv", text)


def run_commands() -> None:
    """Run the commands of docs/plan.md and keep what they print."""
    for name, command in OUTPUTS.items():
        words = [sys.executable, *shlex.split(command)[1:]]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
        write_text(FOLDER / "shipped" / f"{name}.txt", done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--collect", nargs="+", metavar="SCALE=RESULTS", default=[])
    parser.add_argument("--figures", nargs="+", metavar="SCALE=RESULTS", default=[])
    parser.add_argument("--zoo", action="store_true")
    parser.add_argument("--outputs", action="store_true")
    options = parser.parse_args()
    for each in options.collect:
        scale, _, results = each.partition("=")
        collect(scale, Path(results))
    for each in options.figures:
        scale, _, results = each.partition("=")
        copy_figures(scale, Path(results))
    if options.zoo:
        measure_zoo()
    if options.outputs:
        run_commands()
    if options.check:
        if differing := find_differences():
            sys.exit(f"other numbers in {'; '.join(differing)}; run {__file__}")
        return
    for name, (path, make) in BLOCKS.items():
        page = (ROOT / path).read_text()
        write_text(ROOT / path, write_block(page, name, make()))


if __name__ == "__main__":
    main()
