"""How far a forecast reaches, by which early stages it was made: every pair and triple of them.

    python benchmarks/stages.py TABLE [--out FILE] [--laws LAW ...] [--anchors N ...]

For every stage of TABLE from the third on and every pair and triple of earlier ones, each law is
fitted to these stages (and to so many anchors of the late one) and forecasts the late stage. The
output has a row per forecast: held_out, stages, distance (doublings of PTPP from the last of them),
law, anchors, information (see docs/forecasts.md), forecast (law or kriged), n_held_out, mae_rel,
coverage (of 90 % intervals), noise_floor. Without --out it prints the means over stages seen.
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import chain, combinations
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script finds only its own folder

import numpy as np
import pandas as pd

from ptpp.errors import InputError
from ptpp.jobs.files import write_text
from ptpp.laws import Experiment, FitSettings
from ptpp.laws.levels import LAST_STAGE, forecasts_of, last_stage_losses
from ptpp.laws.misfit import krige
from ptpp.laws.scoring import score
from ptpp.laws.uncertainty import coverage
from ptpp.report.tables import to_csv, to_text
from ptpp.table.anchors import choose_anchors, grid_of, measured_cells
from ptpp.table.kinds import list_stages, stages_of
from ptpp.table.noise import noise_floor
from ptpp.table.observations import read_observations

LAWS = ("dcpt", "floor", "gated_floor", "state")
ANCHORS = (0, 3, 20)
TARGET = "fr"


def splits(stages: list[float]) -> Iterator[tuple[tuple[float, ...], float]]:
    """The early stages and the held-out one of every forecast."""
    for place, held_out in enumerate(stages[2:], start=2):
        early = stages[:place]
        for seen in chain(combinations(early, 2), combinations(early, 3)):
            yield seen, held_out


def forecast_stage(
    table: pd.DataFrame, held_out: float, law: str, anchors: int, settings: FitSettings
) -> list[dict]:
    """The scores of one law at one stage, alone and kriged; `table` holds no other late stages."""
    cells = []
    if anchors:
        grid, measured = grid_of(table, held_out), measured_cells(table, held_out)
        cells = choose_anchors(grid, anchors, 0, measured)
    experiment = Experiment(table, held_out, tuple(cells))
    protocol = "with_anchors" if anchors else "early_to_late"
    fitted = krige(experiment.fit(law, protocol, TARGET, settings), held_out)
    rows = experiment.split_of(fitted).held_out
    result = []
    for information, forecast, made in forecasts_of(fitted, rows):
        inside = np.nan
        if "low" in made:
            inside = coverage(rows["loss"], made["low"], made["high"])
        error = score(rows["loss"], made["loss"])["mae_rel"]
        one = {"law": law, "anchors": anchors, "information": information, "forecast": forecast}
        result.append({**one, "n_held_out": len(rows), "mae_rel": error, "coverage": inside})
    if law == LAWS[0] and not anchors:
        unchanged = last_stage_losses(table, rows, held_out, fitted.law, TARGET)
        error = score(rows["loss"], unchanged)["mae_rel"]
        one = {"law": LAST_STAGE, "anchors": 0, "information": "early", "forecast": "law"}
        result.append({**one, "n_held_out": len(rows), "mae_rel": error, "coverage": np.nan})
    return result


def measure(table: pd.DataFrame, laws: list[str], anchors: list[int]) -> pd.DataFrame:
    """Every forecast of every split, see above."""
    settings, rows, labels = FitSettings(starts=8), [], stages_of(table)
    for seen, held_out in splits(list_stages(table)):
        part = table[labels.isin([*seen, held_out])].reset_index(drop=True)
        names = {"held_out": held_out, "stages": " ".join(f"{stage:g}" for stage in seen)}
        names["distance"] = float(np.log2(held_out / seen[-1]))
        names["noise_floor"] = noise_floor(part, TARGET, held_out)
        for law in laws:
            for count in anchors:
                try:
                    scores = forecast_stage(part, held_out, law, count, settings)
                except InputError as error:
                    print(f"{names['stages']} -> {held_out:g}: {error}", file=sys.stderr)
                    continue
                rows += [{**names, **one} for one in scores]
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table")
    parser.add_argument("--out")
    parser.add_argument("--laws", nargs="+", default=list(LAWS))
    parser.add_argument("--anchors", nargs="+", type=int, default=list(ANCHORS))
    options = parser.parse_args()
    table = measure(read_observations(options.table), options.laws, options.anchors)
    if options.out:
        write_text(options.out, to_csv(table))
        return
    seen = table["stages"].str.count(" ") + 1
    keys = ["held_out", "law", "anchors", "forecast"]
    means = table.assign(n_stages=seen).groupby([*keys, "n_stages"], sort=False)
    print(to_text(means[["mae_rel", "coverage", "noise_floor"]].mean().reset_index()))


if __name__ == "__main__":
    main()
