"""Scores with intervals, coverage of prediction intervals, and laws compared pair by pair."""

from pathlib import Path

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.laws.comparison import Contender, comparison_table, coverage_table, interval_table
    from ptpp.laws.experiment import split_of
    from ptpp.laws.record import Fit
    from ptpp.laws.uncertainty import Draws
    from ptpp.report.tables import write_table
    from ptpp.table.observations import read_observations

    observations = read_observations(snakemake.input.observations)
    anchors = read_observations(snakemake.input.anchors)
    contenders = []
    for fit, draws in zip(snakemake.input.fits, snakemake.input.draws, strict=True):
        record = Fit.from_json(fit)
        rows = split_of(record, observations, snakemake.params.held_out, anchors).held_out
        contenders.append(Contender(record, Draws.from_npz(draws), rows))
    out = snakemake.output
    write_table(interval_table(contenders), Path(out.score_intervals).with_suffix(""))
    write_table(coverage_table(contenders), Path(out.coverage).with_suffix(""))
    write_table(comparison_table(contenders), Path(out.comparison).with_suffix(""))
    log.info("\n%s", Path(out.coverage_md).read_text())
