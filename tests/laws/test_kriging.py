"""The kriged misfit, against a direct computation, and what its intervals cover."""

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from laws_grid import GRID, HELD_OUT, SIZES, observations

from ptpp.errors import InputError
from ptpp.laws import Experiment, FitSettings, FittedLaw, bootstrap, fit
from ptpp.laws import misfit as misfit_module
from ptpp.laws.from_table import FitOptions, fit_law
from ptpp.laws.kriging import (
    MOST_CELLS,
    NOISE,
    NOISES,
    TAUS,
    Cells,
    covariance,
    find_scales,
    kernel_of,
    prior_variances,
)
from ptpp.laws.misfit import DRIFTS, krige, krige_where_possible
from ptpp.laws.rows import cells_of
from ptpp.table.anchors import choose_anchors

ANCHORS = tuple(choose_anchors(GRID, 8))
TABLE = observations("gated", noise=0.006)
EXPERIMENT = Experiment(TABLE, HELD_OUT, ANCHORS)
FEW = FitSettings(starts=2)
DOMAINS = {"gated": "fr", "state": "fr", "forgetting": "en"}


@pytest.fixture(scope="module")
def fits():
    """By law and protocol: fits to three stages, kriged."""
    made = {}
    for law, domain in DOMAINS.items():
        for protocol in ("early_to_late", "with_anchors"):
            one = EXPERIMENT.fit(law, protocol, domain, FEW)
            made[law, protocol] = krige(one, HELD_OUT)
    return made


def held_out(fitted):
    return EXPERIMENT.split_of(fitted).held_out


def direct_kernel(law, tau, noise, a, b):
    """The covariance of `a` and `b`, frames of cells, term by term as it is written down."""
    forgets, reads = law.offset is not None, "base_loss" in law.inputs

    def pairs(values):
        return np.asarray(values(a))[:, None], np.asarray(values(b))[None]

    def bell(values, length):
        x, y = pairs(values)
        return np.exp(-((x - y) ** 2) / (2 * length**2))

    def product(values):
        x, y = pairs(values)
        return x * y

    def same(*names):
        alike = np.ones((len(a), len(b)), dtype=bool)
        for name in names:
            alike &= a[name].to_numpy()[:, None] == b[name].to_numpy()[None]
        return alike

    if forgets:
        state = bell(lambda frame: frame["zero_shot_loss"], 0.25)
        mixed = bell(lambda frame: np.log(np.maximum(frame["replay"], 1e-3)), 1.0)
        slope = product(lambda frame: -np.log(np.maximum(frame["replay"], 1e-3)) / 2)
    else:
        state = bell(lambda frame: np.log(frame["ptpp"]), 1.5)
        if reads:
            state = bell(lambda frame: frame["base_loss"], 0.25)
        mixed = bell(lambda frame: np.log(1 - frame["replay"]), 0.5)
        slope = product(lambda frame: np.log(1 - frame["replay"]))
    size = bell(lambda frame: np.log(frame["n_params"]), 0.7)
    tokens = bell(lambda frame: np.log(frame["atpp"]), 1.0)
    later = product(lambda frame: np.log2(frame["ptpp"] / 31))
    x, y = pairs(lambda frame: frame["n_seeds"])
    runs = np.sqrt(x * y)
    checkpoint, run = same("n_params", "ptpp") / runs, same("n_params", "ptpp", "replay") / runs
    smooth = state * size * (0.01**2 + 0.01**2 * tokens) + 0.004**2 * tokens * mixed
    smooth += checkpoint * 0.004**2 * (1 + tokens)
    smooth += 0.003**2 * later * (1 + same("n_params")) / 2
    rest = 0.01**2 * state * size * slope * (1 + tokens) / 2
    return tau**2 * smooth + rest + (noise * 0.004) ** 2 * run * (1 + tokens) / 2


def direct_prior(law):
    """Variances of the solver's parameters: amplitudes 1 or 4 nats^2, shapes of a flat prior."""
    variances = []
    for p in law.parameters:
        width = p.to_solver(p.high) - p.to_solver(p.low)
        amplitude = 1.0 if p.scale == "log" else 4.0
        variances.append(amplitude if p.amplitude else width**2 / 12)
    return np.diag(variances)


@pytest.mark.parametrize("protocol", ["early_to_late", "with_anchors"])
@pytest.mark.parametrize("law", DOMAINS)
def test_a_forecast_is_that_of_a_direct_computation(fits, law, protocol):
    fitted = fits[law, protocol]
    rows, cells = cells_of(fitted.rows), held_out(fitted)
    noise = np.sqrt(fitted.misfit.kernel.noise) / 0.004
    scales = fitted.law, fitted.misfit.tau, noise
    y = np.log(rows["loss"].to_numpy() / fitted.loss(rows))
    known = direct_kernel(*scales, rows, rows)
    known += np.diag((noise * 0.004) ** 2 / rows["n_seeds"].to_numpy())
    across = direct_kernel(*scales, cells, rows)
    at, slopes, prior = fitted.log_slopes(rows), fitted.log_slopes(cells), direct_prior(fitted.law)
    expected = fitted.loss(cells) * np.exp(across @ np.linalg.solve(known, y))
    wide, far = known + at @ prior @ at.T, across + slopes @ prior @ at.T
    here = direct_kernel(*scales, cells, cells) + slopes @ prior @ slopes.T
    here += np.diag((noise * 0.004) ** 2 / cells["n_seeds"].to_numpy())
    spread = np.sqrt(np.diag(here - far @ np.linalg.solve(wide, far.T)))
    loss, deviation = fitted.forecast(cells)
    np.testing.assert_allclose(loss, expected, rtol=1e-9)
    np.testing.assert_allclose(deviation, spread, rtol=1e-5)
    table = fitted.predict(cells)
    np.testing.assert_allclose(table["law_loss"], fitted.loss(cells), rtol=1e-12)
    np.testing.assert_allclose(table["low"], expected * np.exp(-1.6448536 * spread), rtol=1e-6)
    np.testing.assert_allclose(table["high"], expected * np.exp(1.6448536 * spread), rtol=1e-6)
    assert (loss != fitted.loss(cells)).all()


def test_anchors_narrow_the_interval_and_the_mean_of_many_runs_is_known_better(fits):
    for law in DOMAINS:
        cells = held_out(fits[law, "with_anchors"])
        before, after = (fits[law, p].forecast(cells)[1] for p in ("early_to_late", "with_anchors"))
        assert (after < before).all()
        mean = fits[law, "early_to_late"].forecast(cells, noise=False)[1]
        assert (mean < before).all()


@pytest.mark.parametrize("law", DOMAINS)
def test_measuring_a_cell_narrows_another_as_their_covariance_says(fits, law):
    """Against the misfit with that cell among its own, at the same scales, beyond its sizes too."""
    one, cells = fits[law, "early_to_late"], held_out(fits[law, "early_to_late"])
    asked, bought = cells.iloc[[-1]], cells.iloc[[5]].reset_index(drop=True)
    more = pd.concat([cells_of(one.rows), bought.assign(n_seeds=1)], ignore_index=True)
    known = replace(one.misfit, drift=0.0)
    added = replace(
        known,
        cells=Cells.of(one.law, more, known.last_stage),
        residuals=np.log(more["loss"].to_numpy(float) / one.loss(more)),
        slopes=one.log_slopes(more),
    )
    bought = bought.drop(columns="n_seeds")
    before, after = (replace(one, misfit=m).forecast(asked, noise=False)[1] for m in (known, added))
    told = replace(one, misfit=known).joint(asked, bought)[0, 0]
    cut = (told / replace(one, misfit=known).forecast(bought)[1][0]) ** 2
    assert before[0] ** 2 - after[0] ** 2 == pytest.approx(cut, rel=1e-6)
    assert cut > 0

    sizes = [max(SIZES.values()) * times for times in (4.0, 2.0)]
    beyond = [cell.assign(n_params=n) for cell, n in zip((asked, bought), sizes, strict=True)]
    drifting = replace(one, misfit=replace(known, drift=0.1))
    drifted = drifting.joint(*beyond) - replace(one, misfit=known).joint(*beyond)
    assert drifted[0, 0] == pytest.approx(0.1**2 * np.log(2))


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_scales_are_those_of_refits_without_each_block(fits, scale):
    """Each size and stage is forecast from the others, one after the other."""
    fitted = fits["gated", "with_anchors"]
    cells, law = fitted.misfit.cells, fitted.law
    kernel, slopes = kernel_of(law), fitted.misfit.slopes
    wide = slopes @ np.diag(prior_variances(law)) @ slopes.T
    generator = np.random.default_rng(3)
    total = covariance(kernel, scale, cells, cells) + NOISE * np.eye(len(cells.runs))
    residuals = np.linalg.cholesky(total) @ generator.standard_normal(len(cells.runs))
    blocks = cells.groups["checkpoint"]
    scores = {}
    for tau, noise in product(TAUS, NOISES):
        noisy = kernel.with_noise(noise)
        total = covariance(noisy, tau, cells, cells) + wide + np.diag(noisy.noise / cells.runs)
        score = -((np.log(tau) / 0.5) ** 2 + (np.log(noise) / 0.5) ** 2) / 2
        for block in np.unique(blocks):
            out, kept = blocks == block, blocks != block
            gain = np.linalg.solve(total[np.ix_(kept, kept)], total[np.ix_(kept, out)])
            error = residuals[out] - gain.T @ residuals[kept]
            variance = np.diag(total[np.ix_(out, out)] - total[np.ix_(out, kept)] @ gain)
            score += np.mean(-np.log(2 * np.pi * variance) / 2 - error**2 / (2 * variance))
        scores[tau, noise] = score
    found = find_scales(kernel, cells, residuals, wide, blocks)
    assert found == max(scores, key=scores.get)
    assert scale / 2.5 <= found[0] <= max(2.5 * scale, 1)


@pytest.mark.parametrize("noise", [1.0, 4.0])
def test_noisier_runs_widen_the_misfit_as_far_as_they_are_noisy(fits, noise):
    """Whether as noise of runs or as misfit, which one table hardly tells apart."""
    fitted = fits["gated", "with_anchors"]
    cells, kernel = fitted.misfit.cells, kernel_of(fitted.law)
    wide = fitted.misfit.slopes @ np.diag(prior_variances(fitted.law)) @ fitted.misfit.slopes.T

    def total(tau, scale):
        noisy = kernel.with_noise(scale)
        return covariance(noisy, tau, cells, cells) + np.diag(noisy.noise / cells.runs)

    truth = total(1.0, noise)
    draw = np.random.default_rng(5).standard_normal(len(cells.runs))
    residuals = np.linalg.cholesky(truth) @ draw
    scales = find_scales(kernel, cells, residuals, wide, cells.groups["checkpoint"])
    spread = np.sqrt(np.trace(total(*scales)) / np.trace(truth))
    assert 1 / 1.5 <= spread <= 1.5


def test_the_file_gives_the_forecast_back_bit_for_bit(fits, tmp_path):
    for law, domain in DOMAINS.items():
        fitted = bootstrap(fits[law, "with_anchors"], 2)
        fitted = replace(fitted, misfit=replace(fitted.misfit, drift=0.02))
        fitted.save(tmp_path / f"{law}.{domain}.json")
        back = FittedLaw.load(tmp_path / f"{law}.{domain}.json")
        cells = held_out(fitted).assign(n_params=3e5)
        for one, two in zip(fitted.forecast(cells), back.forecast(cells), strict=True):
            np.testing.assert_array_equal(one, two)
        pd.testing.assert_frame_equal(fitted.predict(cells), back.predict(cells), check_exact=True)


def test_the_order_of_the_rows_changes_nothing(fits):
    for law in DOMAINS:
        fitted = fits[law, "with_anchors"]
        shuffled = fitted.rows.sample(frac=1, random_state=1).reset_index(drop=True)
        again = krige(replace(fitted, rows=shuffled, misfit=None), HELD_OUT)
        cells = held_out(fitted)
        assert again.misfit.tau == fitted.misfit.tau
        np.testing.assert_allclose(again.forecast(cells)[0], fitted.forecast(cells)[0], rtol=1e-9)
        np.testing.assert_allclose(again.forecast(cells)[1], fitted.forecast(cells)[1], rtol=1e-6)


def test_more_cells_than_can_be_solved_are_not_kriged():
    small = EXPERIMENT.fit("gated", "early_to_late", "fr", FEW)
    assert MOST_CELLS == 2000
    many = pd.concat([small.rows] * 17, ignore_index=True)
    many = many.assign(atpp=many["atpp"] * (1 + np.arange(len(many)) / 1e4)).head(MOST_CELLS + 1)
    large = replace(small, rows=many, record=replace(small.record, n_rows=len(many)))
    with pytest.raises(InputError, match="law gated: 2001 cells; a misfit is kriged from 2000 at"):
        krige(large, HELD_OUT)
    same, why = krige_where_possible(large, HELD_OUT)
    assert same is large and why.startswith("law gated: 2001 cells")


def test_a_fit_that_could_not_be_kriged_says_so(monkeypatch):
    monkeypatch.setattr(misfit_module, "MOST_CELLS", 119)
    options = FitOptions(held_out=HELD_OUT, starts=2, draws=40)
    fitted = fit_law(TABLE, "gated", "fr", options)
    assert fitted.fitted.misfit is None
    expected = "not kriged: law gated: 120 cells; a misfit is kriged from 119 at most"
    assert expected in fitted.warnings
    asked_not_to = fit_law(TABLE, "gated", "fr", replace(options, krige=False))
    assert asked_not_to.fitted.misfit is None
    assert not [line for line in asked_not_to.warnings if "kriged" in line]


def test_drift_widens_beyond_the_largest_size_alone(fits):
    fitted = fits["gated", "early_to_late"]
    wider = replace(fitted, misfit=replace(fitted.misfit, drift=0.03))
    cells = held_out(fitted)
    np.testing.assert_array_equal(wider.forecast(cells)[1], fitted.forecast(cells)[1])
    largest = max(SIZES.values())
    for times in (2, 30):
        beyond = cells.assign(n_params=float(times * largest))
        (loss, before), (same, after) = (one.forecast(beyond) for one in (fitted, wider))
        np.testing.assert_array_equal(loss, same)
        np.testing.assert_allclose(after**2 - before**2, 0.03**2 * np.log(times), rtol=1e-6)


def test_the_drift_is_measured_on_the_largest_sizes():
    fitted = EXPERIMENT.fit("gated", "with_anchors", "fr", FEW)
    assert krige(fitted, HELD_OUT).misfit.drift == 0
    calm = krige(fitted, HELD_OUT, FEW).misfit.drift
    # Losses of the larger sizes that no law of the smaller ones could foresee.
    jumps = fitted.rows["size"].map({"xs": 0.0, "s": 0.1, "m": -0.2})
    rows = fitted.rows.assign(loss=fitted.rows["loss"] * np.exp(jumps))
    rough = krige(fit("gated", rows, FEW, asked=HELD_OUT), HELD_OUT, FEW).misfit.drift
    assert calm in DRIFTS and rough in DRIFTS
    assert calm < rough


def covered(law, truth, protocol, noise=0.006):
    """The share of held-out losses of three tables that follow `truth` within the kriged 90 %
    interval, and the mean relative errors of the law and of its kriged forecast.
    """
    inside, errors = [], []
    for seed in range(3):
        experiment = Experiment(observations(truth, noise, seed), HELD_OUT, ANCHORS)
        fitted = krige(experiment.fit(law, protocol, "fr", FEW), HELD_OUT)
        cells = experiment.split_of(fitted).held_out
        table, loss = fitted.predict(cells), cells["loss"]
        inside.append((loss > table["low"]) & (loss < table["high"]))
        errors.append([(abs(table[n] - loss) / loss).mean() for n in ("law_loss", "loss")])
    return np.concatenate(inside).mean(), np.mean(errors, axis=0)


def test_intervals_of_the_right_law_cover():
    share, (law, kriged) = covered("gated", "gated", "with_anchors")
    assert 0.85 <= share <= 0.97
    assert kriged < 1.1 * law  # nothing to correct, and nothing is spoilt


@pytest.mark.parametrize(
    ("law", "truth", "protocol", "gain"),
    [
        ("floor", "gated", "early_to_late", 0.97),
        ("floor", "gated_floor", "with_anchors", 0.7),
        ("dcpt", "gated", "with_anchors", 0.3),
    ],
)
def test_intervals_of_a_misspecified_law_cover_and_anchors_correct_it(law, truth, protocol, gain):
    share, (alone, kriged) = covered(law, truth, protocol)
    assert 0.85 <= share <= 0.97
    assert kriged < gain * alone
