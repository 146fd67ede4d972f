"""Draw the profile of every parameter of one law."""

from pathlib import Path

import pandas as pd

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.laws.identifiability import THRESHOLD
    from ptpp.report import figures

    profiles = pd.concat([pd.read_csv(path) for path in snakemake.input.profiles])
    verdicts = pd.concat([pd.read_csv(path) for path in snakemake.input.verdicts])
    law, target = snakemake.params.law, snakemake.params.target
    figure = figures.profile(profiles, verdicts, law, target, THRESHOLD)
    figures.save(figure, Path(snakemake.output[0]).with_suffix(""))
