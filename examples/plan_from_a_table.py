"""From a table of losses to a plan in Python: fit a law, ask how good it is, predict, plan.

python examples/plan_from_a_table.py

Each step also works as a cell of a notebook, where fits and plans show as tables.
"""

from pathlib import Path

import ptpp

TABLE = Path(__file__).parent.parent / "resources" / "observations" / "laptop-real.csv"

# One row per measured loss: four model sizes, three pre-training stages, three domains.
table = ptpp.read(TABLE)

# Fit the stages before 279 tokens per parameter and 20 small runs at 279; the rest is forecast.
fit = ptpp.fit(table, law="gated_floor", target="fr", held_out=279, anchors=20, draws=100)
scores = fit.score()
error, noise = scores.loc["mae_rel", "value"], scores.loc["noise_floor", "value"]
print(f"forecast error {error:.1%}, seed noise of one run {noise:.1%}")
for warning in fit.warnings:
    print(f"warning: {warning}")

# Loss over the replay ratio, with 90 % intervals [nats per token].
curve = fit.predict(n_params="87k", ptpp=279, replay=[0, 0.1, 0.25, 0.5], atpp=8)
print(curve[["replay", "loss", "low", "high"]].round(3).to_string(index=False))

# The cheapest adaptation within 0.05 nats of the best, giving up at most 0.5 nats of English.
plans = ptpp.plan(fit, n_params="87k", ptpp=279, limits={"en": 0.5})
shown = ["kind", "replay", "atpp", "flops", "target_loss", "forgetting_en", "feasible", "met"]
print(plans.table[shown].round(3).to_string(index=False))
