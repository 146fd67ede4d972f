"""Fits and draws with known parameters for the interactive planner."""

from dataclasses import replace

import numpy as np
import pandas as pd
import plan_fits
from laws_grid import FORGETTING_PARAMS, TARGET_PARAMS, observations
from plan_fits import with_record

from ptpp.laws import LAWS, declared_law
from ptpp.laws.base_loss import BaseLosses
from ptpp.laws.misfit import krige
from ptpp.laws.rows import law_rows
from ptpp.planning import PlanRequest
from ptpp.report.planner import planner_page

REQUEST = PlanRequest(
    n_params=80_000,
    ptpp=279,
    forgetting_limits={"en": 0.5, "ar": 0.6},
    max_atpp=16,
    min_atpp=0.5,
    target_within=0.2,
    base_loss=3.4,
    zero_shot_losses={"en": 3.2, "ar": 3.0},
    replay_floor=0.05,
)
BASE_LOSSES = BaseLosses(observations(), "fr")
NO_SCORES = pd.DataFrame(columns=["law", "domain", "protocol", "forecast", "mae_rel"])
RANGES = {
    "n_params": (16832.0, 87360.0),
    "ptpp": (15.0, 279.0),
    "share": (0.5, 1.0),
    "replay": (0.05, 1.0),
    "atpp": (1.0, 16.0),
    "adapt_tokens": (16832.0, 1397760.0),
    "base_loss": (3.0, 4.0),
    "zero_shot_loss": (2.5, 4.0),
}
DECLARED = {
    "name": "mine",
    "title": "</script><script>document.title = 'broken'</script><!--",
    "expression": "a + exp(b)*n^-0.3 + sqrt(c*c)*d**-.2*p^k - log(1 + s/10) + .02*replay/2e0",
    "parameters": {
        "a": {"low": 0, "high": 5},
        "b": {"low": -5, "high": 3},
        "c": {"low": 0, "high": 3, "scale": "linear"},
        "k": {"low": -1, "high": 1},
    },
}
DECLARED_PARAMS = {"a": 1.8, "b": -0.2, "c": 0.9, "k": -0.05}


def fit_by(law, params, domain, protocol="with_anchors", draws=16, seed=0, spread=0.04):
    """One fit, and draws that scatter about it by a relative `spread`."""
    fitted = with_record(plan_fits.fit_by(law, params, domain, RANGES), protocol=protocol)
    scatter = np.random.default_rng(seed).normal(1, spread, (draws, len(law.names)))
    resamples = "with controls" if law.offset else "without"
    return plan_fits.drawn(fitted, fitted.params * scatter, resamples, np.zeros(100))


def forgetting(domain, seed, draws=16, **changed):
    params = {**FORGETTING_PARAMS, "S": 0.3, **changed}
    return fit_by(LAWS["forgetting"], params, domain, draws=draws, seed=seed)


def every_law():
    """A target fit by each law of the zoo and by a declared one, and two forgetting fits."""
    zoo = [law for law in LAWS.values() if not law.offset]
    targets = [fit_by(law, TARGET_PARAMS, "fr", seed=i) for i, law in enumerate(zoo)]
    mine = fit_by(declared_law(DECLARED, "mine"), DECLARED_PARAMS, "fr", seed=50)
    return [*targets, mine, forgetting("en", 60), forgetting("ar", 61, S=0.2, gamma=0.6)]


def kriged(law, params, domain, seed=0):
    """One fit with a misfit, of cells that its law misses by noise and, if it is a wrong law, more;
    beyond the largest size it drifts.
    """
    rows = law_rows(observations(noise=0.01, seed=seed), LAWS[law], domain)
    fitted = fit_by(LAWS[law], params, domain, seed=seed)
    fitted = krige(replace(with_record(fitted, n_rows=len(rows)), rows=rows))
    noisy = replace(fitted.misfit, kernel=fitted.misfit.kernel.with_noise(1.4))
    return replace(fitted, misfit=replace(noisy, drift=0.02))


def kriged_laws():
    """Kriged target fits, one of a law that reads the base loss, one fit without a misfit, and
    kriged forgetting fits.
    """
    targets = [kriged(law, TARGET_PARAMS, "fr") for law in ("gated_floor", "state", "floor_tokens")]
    targets.append(fit_by(LAWS["floor"], TARGET_PARAMS, "fr"))
    bases = [kriged("forgetting", FORGETTING_PARAMS, domain, seed=2) for domain in ("en", "ar")]
    return [*targets, *bases]


def make_page(request, fits, law="gated_floor", base_losses=BASE_LOSSES):
    """A page that opens on a law with anchors."""
    return planner_page(request, fits, (law, "with_anchors"), base_losses, NO_SCORES)
