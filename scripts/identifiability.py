"""Gather the verdicts of all fits, and what each unidentified forecast could also be."""

from pathlib import Path

import pandas as pd

from ptpp.jobs import job as jobs

with jobs.logged(snakemake.log[0]):
    from ptpp.laws import Experiment
    from ptpp.laws.identifiability import BAND_COLUMNS, cure, describe_band, kappa_band
    from ptpp.report.tables import write_table

    source, params = snakemake.input, snakemake.params
    experiment = Experiment.read(source.observations, params.held_out, source.anchors)
    bands = []
    for one in experiment.load(source.fits):
        if len(one.draws.band):
            reason = describe_band(one)
            remedy = cure(experiment.observations, params.target, params.held_out)
            table = kappa_band(one, experiment.split_of(one).held_out)
            bands.append(table.assign(reason=reason, cure=remedy))
            jobs.log.warning("%s, %s: %s; %s", one.record.law, one.record.protocol, reason, remedy)
    verdicts = pd.concat([pd.read_csv(path) for path in source.verdicts])
    out = snakemake.output
    write_table(verdicts, Path(out.identifiability).with_suffix(""))
    table = pd.concat(bands) if bands else pd.DataFrame(columns=list(BAND_COLUMNS))
    write_table(table, Path(out.kappa_bands).with_suffix(""))
