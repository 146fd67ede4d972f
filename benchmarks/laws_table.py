"""The measured tables of docs/laws.md, from the shipped table of real losses.

    python benchmarks/laws_table.py [--check [LAW ...]]

Fits every target law of the zoo to `resources/observations/laptop-real.csv` with the settings of
config.yaml and writes the table between the markers in docs/laws.md. `--check` writes nothing and
fails where the page's numbers of these laws (all, if none is named) differ by more than another
machine's arithmetic can change them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # a script finds only its own folder

import pandas as pd
import yaml

from ptpp.jobs.files import write_text
from ptpp.laws import LAWS, Experiment, FitSettings, bootstrap
from ptpp.laws.comparison import comparison_table
from ptpp.laws.uncertainty import coverage
from ptpp.table.anchors import choose_anchors, grid_of, measured_cells
from ptpp.table.observations import read_observations

TABLE = ROOT / "resources" / "observations" / "laptop-real.csv"
PAGE = ROOT / "docs" / "laws.md"
BEGIN, END = "<!-- benchmarks/laws_table.py -->", "<!-- end -->"
TARGET = "fr"
LAWS_SHOWN = [name for name, law in LAWS.items() if law.offset is None]
COLUMNS = (
    *("in-sample", "early_to_late", "with_anchors"),
    *("coverage early_to_late", "coverage with_anchors"),
)
SLACK = (0.2, 0.5, 0.2, 10, 10)  # by column, percent


def experiment(config: dict) -> Experiment:
    """The shipped table with the held-out stage and the number of anchors of config.yaml."""
    observations = read_observations(TABLE)
    held_out, anchors = config["held_out"]["ptpp"], config["held_out"]["anchors"]
    of_target = observations[observations["domain"] == TARGET]
    grid = grid_of(of_target, held_out)
    axes = (grid[axis] for axis in ("sizes", "replay", "atpp"))
    measured = measured_cells(of_target, held_out)
    cells = choose_anchors(*axes, anchors["count"], anchors["seed"], measured)
    return Experiment(observations, held_out, tuple(cells))


def measure(config: dict, names: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row per law: errors and coverage in percent; and its comparison without anchors."""
    place = experiment(config)
    laws = config["laws"]
    settings = FitSettings(laws["huber_delta"], laws["starts"], laws["seed"])
    rows, early = {}, []
    for name in names:
        rows[name] = {}
        for protocol in ("early_to_late", "with_anchors"):
            fitted = place.fit(name, protocol, TARGET, settings)
            fitted = bootstrap(fitted, laws["bootstrap"], laws["seed"])
            held_out = place.split_of(fitted).held_out
            if protocol == "early_to_late":
                rows[name]["in-sample"] = 100 * fitted.score(fitted.rows)["mae_rel"]
                early.append(fitted)
            inside = coverage(held_out["loss"], *fitted.interval(held_out))
            rows[name][protocol] = 100 * fitted.score(held_out)["mae_rel"]
            rows[name][f"coverage {protocol}"] = 100 * inside
    return pd.DataFrame(rows).T, comparison_table(early, place)


def write_table(table: pd.DataFrame, pairs: pd.DataFrame) -> str:
    """The Markdown between the markers; the least error of each column is bold."""
    errors = ["in-sample", "early_to_late", "with_anchors"]
    lines = [
        "| law | in-sample | held-out | with anchors | coverage | coverage with anchors |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, row in table.iterrows():
        cells = [
            f"**{row[c]:.1f}**" if row[c] == table[c].min() else f"{row[c]:.1f}" for c in errors
        ]
        cells += [f"{row[f'coverage {c}']:.0f}" for c in errors[1:]]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    best = table["early_to_late"].idxmin()
    won = pairs[pairs["law"] == best]
    lines += [
        "",
        f"Without anchors `{best}` has the lowest error. Against every other law it is the better\n"
        f"one in {100 * won['probability'].min():.0f} % of the draws or more. Its 90 % intervals "
        f"hold {table.loc[best, 'coverage early_to_late']:.0f} % of the held-out losses.",
    ]
    return "\n".join(lines)


def find_differences(page: str, table: pd.DataFrame) -> list[str]:
    """The laws whose numbers on the page are not those of `table`."""
    shown = {}
    for line in page.splitlines():
        name, *cells = (cell.strip(" *`") for cell in line.strip("|").split("|"))
        if name in table.index:
            shown[name] = [float(cell) for cell in cells]
    return [
        name
        for name, row in table.iterrows()
        if name not in shown
        or any(
            abs(a - b) > s for a, b, s in zip(row[list(COLUMNS)], shown[name], SLACK, strict=True)
        )
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", nargs="*", metavar="LAW", choices=LAWS_SHOWN)
    check = parser.parse_args().check
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    table, pairs = measure(config, check or LAWS_SHOWN)
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    old, after = rest.split(END, 1)
    if check is None:
        write_text(PAGE, f"{before}{BEGIN}\n{write_table(table, pairs)}\n{END}{after}")
        return
    differing = find_differences(old, table)
    if differing:
        sys.exit(f"{PAGE}: other numbers for {', '.join(differing)}; run {__file__}")


if __name__ == "__main__":
    main()
