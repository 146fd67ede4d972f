"""Draw forgetting against replay ratio."""

from pathlib import Path

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.report import figures
    from ptpp.table.observations import read_observations

    figure = figures.forgetting(
        read_observations(snakemake.input.observations), snakemake.params.base
    )
    figures.save(figure, Path(snakemake.output[0]).with_suffix(""))
