"""Draw held-out error against the number of anchors."""

from pathlib import Path

import pandas as pd

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.report import figures

    target = snakemake.params.target
    noise = pd.read_csv(snakemake.input.scores).groupby("domain").noise_floor.first()[target]
    figure = figures.anchor_sweep(pd.read_csv(snakemake.input.sweep), noise, target)
    figures.save(figure, Path(snakemake.output[0]).with_suffix(""))
