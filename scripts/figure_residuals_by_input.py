"""Draw relative residuals against size, PTPP, replay and ATPP."""

from pathlib import Path

import pandas as pd

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.report import figures

    target = snakemake.params.target
    noise = pd.read_csv(snakemake.input.scores).groupby("domain").noise_floor.first()[target]
    predictions, protocol = pd.read_csv(snakemake.input.predictions), snakemake.params.protocol
    figure = figures.residuals_by_input(predictions, noise, target, protocol)
    figures.save(figure, Path(snakemake.output[0]).with_suffix(""))
