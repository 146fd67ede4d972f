"""Leave parts of the table out in turn, and score every target law on them."""

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.laws import FitSettings
    from ptpp.laws.experiment import cross_validation
    from ptpp.report.tables import write_table
    from ptpp.table.observations import read_observations

    params = snakemake.params
    table = cross_validation(
        read_observations(snakemake.input.observations),
        params.laws,
        params.protocols,
        params.target,
        FitSettings(**params.settings),
    )
    write_table(table, snakemake.output.cross_validation)
