"""Draw forgetting against replay ratio."""

from pathlib import Path

from ptpp import jobs

with jobs.logged(snakemake.log[0]):
    from ptpp import figures
    from ptpp.observations import read_observations

    figure = figures.forgetting(
        read_observations(snakemake.input.observations), snakemake.params.base
    )
    figures.save(figure, Path(snakemake.output[0]).with_suffix(""))
