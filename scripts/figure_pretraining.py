"""Draw the training curves of every pre-training trunk."""

from pathlib import Path

import pandas as pd

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.report import figures

    curves = pd.concat([pd.read_csv(path) for path in snakemake.input.curves])
    figure = figures.pretraining(curves, snakemake.params.stages)
    figures.save(figure, Path(snakemake.output[0]).with_suffix(""))
