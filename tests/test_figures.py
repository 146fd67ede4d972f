"""Figures: what they draw, and that they come out the same each time."""

import itertools

import numpy as np
import pandas as pd

from ptpp.observations import cell_means, is_sweep

SIZES = {"w16": 16832, "w32": 45952, "w48": 87360}


def observation_table(controls=True, seeds=3, domains=("fr", "en", "ar"), sizes=SIZES):
    """Observations of the default grid from a smooth made-up loss surface with seed noise."""
    noise = np.random.default_rng(0)
    replays = [0, 0.05, 0.25, 0.5] + ([1.0] if controls else [])
    cells = [(0, 0.0), *itertools.product((1, 2, 4, 8, 16), replays)]
    rows = []
    for (size, n), ptpp, (atpp, replay) in itertools.product(sizes.items(), (15, 31, 279), cells):
        for seed in range(seeds if size == min(sizes) else 1):
            base = 2.2 + 12 * n**-0.25 + 0.9 * ptpp**-0.4
            loss = {"fr": 5.6 + 0.05 * np.log(ptpp), "en": base, "ar": base + 0.2}
            if atpp and replay < 1:
                share = (1 - replay) * atpp
                loss["fr"] = 2.5 + 12 * n**-0.25 + 1.4 * share**-0.35 * (ptpp / 31) ** -0.1
            if atpp:
                lost = 2.5 * (1 - replay) * (1 + 60 * replay) ** -0.8 * (1 - (1 + atpp) ** -0.5)
                loss["en"] += lost + 0.02 - 0.05 * replay * np.log1p(atpp)
                loss["ar"] += 1.3 * lost + 0.02 - 0.05 * replay * np.log1p(atpp)
            for domain in domains:
                rows.append(
                    {
                        "run": f"{size}-{ptpp}-{replay}-{seed}",
                        "size": size,
                        "n_params": n,
                        "ptpp": float(ptpp),
                        "replay": float(replay),
                        "atpp": float(atpp),
                        "adapt_tokens": float(atpp * n),
                        "domain": domain,
                        "loss": loss[domain] * (1 + 0.006 * noise.standard_normal()),
                        "seed": seed,
                    }
                )
    return pd.DataFrame(rows)


def prediction_table(observations, laws=("dcpt", "floor", "gated", "gated_floor"), anchors=20):
    """Predictions of made-up laws, each off by a little more than the last, for two protocols."""
    rows = cell_means(observations[(observations["domain"] == "fr") & is_sweep(observations)])
    late = rows["ptpp"] == 279
    tables = []
    for (i, law), protocol in itertools.product(enumerate(laws), ("early_to_late", "with_anchors")):
        bias = (0.05 - 0.015 * i) * late * (0.4 if protocol == "with_anchors" else 1)
        wave = 0.01 * np.sin(np.arange(len(rows)))
        anchored = late & (rows.index % 3 == 0) & (protocol == "with_anchors")
        tables.append(
            rows.assign(
                law=law,
                protocol=protocol,
                role=np.where(late & ~anchored, "held_out", "fit"),
                observed=rows["loss"],
                predicted=rows["loss"] * (1 + bias + wave),
            )
        )
    return pd.concat(tables, ignore_index=True)


def curve_table(seeds=3, sizes=SIZES):
    """Training curves on geometrically spaced token counts."""
    noise = np.random.default_rng(1)
    rows = []
    for size, n in sizes.items():
        for seed in range(seeds if size == min(sizes) else 1):
            tokens = np.unique(np.round(np.geomspace(0.05, 279, 120) * n / 512) * 512)
            tokens = tokens[tokens > 0]
            loss = 2.2 + 12 * n**-0.25 + 2.4 * (tokens / n + 0.5) ** -0.4
            loss *= 1 + 0.01 * noise.standard_normal(len(tokens))
            model = f"{size}.seed{seed}"
            columns = {"model": model, "size": size, "seed": seed, "n_params": n}
            rows.append(pd.DataFrame({**columns, "tokens": tokens, "loss": loss}))
    return pd.concat(rows, ignore_index=True)


def plan_grid(domains=("en", "ar")):
    replay, atpp = np.meshgrid(np.linspace(0, 0.9, 61), np.geomspace(0.5, 40, 81))
    lost = 1.5 * (1 - replay) * (1 + 40 * replay) ** -0.9 * (1 - (1 + atpp) ** -0.5)
    grid = {"replay": replay, "atpp": atpp, "target_loss": 3.3 + ((1 - replay) * atpp) ** -0.35}
    grid |= {f"forgetting_{d}": lost * (1 + 0.3 * i) for i, d in enumerate(domains)}
    return pd.DataFrame({name: values.ravel() for name, values in grid.items()})
