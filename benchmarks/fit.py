"""CPU time of a fit: ours, against scipy's least_squares and the usual 4500 L-BFGS-B runs.

    python benchmarks/fit.py [--rows 500] [--sample 20] [--bootstrap 1000]

All fit `gated_floor` with all of its 12 parameters free to the same simulated table, with the same
objective, bounds and parameter scales. scipy's `least_squares` (trust region, loss "huber") gets
our exact Jacobian and our starts, one after the other. The usual way (Hoffmann et al. 2022 and many after them)
starts L-BFGS-B from every point of a grid and lets it take finite differences. All 4500 starts
take a quarter of an hour or more, so a random sample of them is run and its CPU time is scaled up;
the output says so. The sample's best objective stands for the usual way's: more starts could lower
it, but never below the minimum. Run with OMP_NUM_THREADS=1.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import least_squares, minimize

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script finds only its own folder

from ptpp.laws import LAWS, FitSettings, fit
from ptpp.laws.fitting import draw_starts, pose_problem
from ptpp.laws.problem import Problem, law_inputs
from ptpp.laws.solver import huber, minimise

USUAL_STARTS = 4500
PARAMS = {
    "E": 2.0, "A": 1.2, "alpha": 0.25, "B": 1.0, "eta": -0.3, "beta": 0.25, "S": 0.1,
    "gamma": 0.5, "eps": 0.05, "delta": -0.08, "G": 0.15, "kappa": 0.4,
}  # fmt: skip
REFERENCE = {"n_params": 9e4, "ptpp": 50.0, "share": 0.5, "adapt_tokens": 4e5}
NOISE = 0.01


def table(rows: int) -> pd.DataFrame:
    """Noisy losses on a grid of 5 sizes, 4 stages, 5 replay ratios; more ATPP for more rows."""
    atpps = np.geomspace(1, 32, max(2, round(rows / 100)))
    grid = pd.MultiIndex.from_product(
        [[2e4, 5e4, 1e5, 2e5, 5e5], [15, 31, 80, 279], [0, 0.05, 0.25, 0.5, 0.92], atpps],
        names=["n_params", "ptpp", "replay", "atpp"],
    ).to_frame(index=False)
    grid["adapt_tokens"] = grid["atpp"] * grid["n_params"]
    law = LAWS["gated_floor"]
    value = law.predict(law.to_solver(PARAMS), law_inputs(law, grid), REFERENCE)
    noise = np.random.default_rng(0).standard_normal(len(grid))
    return grid.assign(loss=value * np.exp(NOISE * noise))


def usual(frame: pd.DataFrame, reference: dict, starts: int, seed: int = 0) -> tuple[float, float]:
    """CPU seconds per start, and the best objective found, of L-BFGS-B with finite differences."""
    law = LAWS["gated_floor"]
    inputs, loss = law_inputs(law, frame), frame["loss"].to_numpy()
    low, high = law.bounds()

    def objective(theta: np.ndarray) -> float:
        predicted = np.maximum(law.predict(theta, inputs, reference), 1e-3 * loss)
        return float(huber(np.log(predicted / loss), 1e-3).sum())

    # A grid of 4500 points in 12 dimensions is a thin one; random points of it are as good.
    generator = np.random.default_rng(seed)
    wide = low + (high - low) * generator.uniform(size=(starts, len(low)))
    begin, best = time.process_time(), np.inf
    for theta in wide:
        found = minimize(
            objective,
            theta,
            method="L-BFGS-B",
            bounds=list(zip(low, high, strict=True)),
            options={"maxiter": 1000, "maxfun": 100_000},
        )
        best = min(best, float(found.fun))
    return (time.process_time() - begin) / starts, best


def least_squares_from(problem: Problem, starts: np.ndarray) -> tuple[float, float]:
    """CPU seconds of scipy's trust region from all starts, and the best objective."""
    begin, best = time.process_time(), np.inf
    for start in starts:
        solution = least_squares(
            lambda x: problem.residuals(x)[0],
            start,
            lambda x: problem.residuals(x)[1].T,
            bounds=problem.bounds(),
            loss="huber",
            f_scale=problem.delta,
            ftol=1e-11,
            xtol=1e-12,
            gtol=1e-14,
            max_nfev=1000,
        )
        best = min(best, float(solution.cost))
    return time.process_time() - begin, best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--sample", type=int, default=20, help="starts of the usual way to run")
    parser.add_argument("--bootstrap", type=int, default=1000)
    arguments = parser.parse_args()
    frame = table(arguments.rows)
    fit("gated_floor", frame, FitSettings(starts=1))  # imports and caches are warm from here on
    begin = time.process_time()
    fitted = fit("gated_floor", frame)
    ours = time.process_time() - begin
    record = fitted.record
    print(f"rows {len(frame)}, free parameters {len(record.params) - len(record.fixed)}")
    print(f"ours: {ours:.3f} s CPU, {record.settings['starts']} starts, ", end="")
    print(f"objective {record.objective:.10g}, converged {record.converged}, ", end="")
    print(f"share of starts within 1e-6: {record.share_1e6:.2f}", flush=True)

    problem = pose_problem(fitted.law, frame, record.settings["delta"])
    starts = draw_starts(problem, FitSettings())
    begin = time.process_time()
    minimise(problem.residuals, starts, *problem.bounds(), delta=problem.delta)
    alone = time.process_time() - begin
    scipy, objective = least_squares_from(problem, starts)
    print(f"least_squares, our Jacobian and starts: {scipy:.2f} s CPU, ", end="")
    print(f"{scipy / alone:.1f} times our solver's {alone:.3f} s; objective {objective:.10g}")

    counts = np.random.default_rng(1).multinomial(
        len(frame), np.full(len(frame), 1 / len(frame)), size=arguments.bootstrap
    )
    begin = time.process_time()
    solution = minimise(
        problem.residuals,
        np.tile(fitted.theta[problem.free], (len(counts), 1)),
        *problem.bounds(),
        delta=problem.delta,
        weights=counts.astype(float),
        tolerance=1e-8,
    )
    seconds = time.process_time() - begin
    print(f"bootstrap: {seconds:.2f} s CPU for {len(counts)} refits, ", end="")
    print(f"{solution.converged.mean():.3f} converged", flush=True)

    each, objective = usual(frame, record.reference, arguments.sample)
    total = each * USUAL_STARTS
    print(f"usual: {each:.2f} s CPU per start, measured on {arguments.sample} starts; scaled to ")
    print(f"       {USUAL_STARTS} starts: {total:.0f} s; best objective {objective:.10g}")
    print(f"ratio of CPU time: {total / ours:.0f}")
    print(f"objective, ours over the usual way's: {record.objective / objective:.10f}")


if __name__ == "__main__":
    main()
