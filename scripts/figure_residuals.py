"""Draw relative residuals by stage, law and protocol."""

from pathlib import Path

import pandas as pd

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.report import figures

    target = snakemake.params.target
    noise = pd.read_csv(snakemake.input.scores).groupby("domain").noise_floor.first()[target]
    figure = figures.residuals(pd.read_csv(snakemake.input.predictions), noise, target)
    figures.save(figure, Path(snakemake.output[0]).with_suffix(""))
