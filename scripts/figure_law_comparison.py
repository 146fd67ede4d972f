"""Draw the scores of all laws with their intervals."""

from pathlib import Path

import pandas as pd

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.report import figures

    target = snakemake.params.target
    noise = pd.read_csv(snakemake.input.scores).groupby("domain").noise_floor.first()[target]
    figure = figures.law_comparison(pd.read_csv(snakemake.input.intervals), noise, target)
    figures.save(figure, Path(snakemake.output[0]).with_suffix(""))
