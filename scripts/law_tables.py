"""Predictions, scores, intervals, comparisons and verdicts of all fits at the held-out stage."""

from pathlib import Path

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    import pandas as pd

    from ptpp.laws import Experiment
    from ptpp.laws.comparison import comparison_table, coverage_table, interval_table
    from ptpp.laws.experiment import predictions, score_table
    from ptpp.laws.identifiability import BAND_COLUMNS, cure, describe_band, kappa_band
    from ptpp.report.tables import write_csv, write_table

    source, params, output = snakemake.input, snakemake.params, snakemake.output
    experiment = Experiment.read(source.observations, params.held_out, source.anchors)
    fits = experiment.load(source.fits)
    remedy = cure(experiment.observations, params.target, params.held_out)
    bands = [pd.DataFrame(columns=list(BAND_COLUMNS))]
    for one in fits:
        if len(one.draws.band):
            reason = describe_band(one)
            table = kappa_band(one, experiment.split_of(one).held_out)
            bands.append(table.assign(reason=reason, cure=remedy))
            log.warning("%s, %s: %s; %s", one.record.law, one.record.protocol, reason, remedy)
    write_csv(predictions(fits, experiment), output.predictions)
    tables = {
        "scores": score_table(fits, experiment),
        "score_intervals": interval_table(fits, experiment),
        "coverage": coverage_table(fits, experiment),
        "comparison": comparison_table(fits, experiment),
        "identifiability": pd.concat([pd.read_csv(path) for path in source.verdicts]),
        "kappa_bands": pd.concat(bands[1:] or bands),
    }
    for name, table in tables.items():
        write_table(table, output[name])
    log.info("\n%s", Path(output.scores_md).read_text())
    log.info("\n%s", Path(output.coverage_md).read_text())
