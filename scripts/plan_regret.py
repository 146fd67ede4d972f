"""Plans of every law checked against the measured cells of the held-out stage."""

from pathlib import Path

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.laws import Experiment, FittedLaw
    from ptpp.planning import regret_cases, regret_table
    from ptpp.report.tables import write_csv, write_table

    source, params = snakemake.input, snakemake.params
    experiment = Experiment.read(source.observations, params.held_out, source.anchors)
    fits = [FittedLaw.load(path) for path in source.fits]
    cases = regret_cases(fits, experiment, params.confidence)
    write_csv(cases, snakemake.output.cases)
    write_table(regret_table(cases), snakemake.output.plan_regret)
    log.info("\n%s", Path(snakemake.output.plan_regret_md).read_text())
