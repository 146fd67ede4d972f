"""Scores with intervals, coverage of prediction intervals, and laws compared pair by pair."""

from pathlib import Path

from ptpp.jobs import job as jobs

with jobs.logged(snakemake.log[0]):
    from ptpp.laws import Experiment
    from ptpp.laws.comparison import comparison_table, coverage_table, interval_table
    from ptpp.report.tables import write_table

    source, out = snakemake.input, snakemake.output
    experiment = Experiment.read(source.observations, snakemake.params.held_out, source.anchors)
    fits = experiment.load(source.fits)
    write_table(interval_table(fits, experiment), Path(out.score_intervals).with_suffix(""))
    write_table(coverage_table(fits, experiment), Path(out.coverage).with_suffix(""))
    write_table(comparison_table(fits, experiment), Path(out.comparison).with_suffix(""))
    jobs.log.info("\n%s", Path(out.coverage_md).read_text())
