"""Gather the verdicts of all fits, and what each unidentified forecast could also be."""

from pathlib import Path

import pandas as pd

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.laws.experiment import split_of
    from ptpp.laws.identifiability import BAND_COLUMNS, cure, kappa_band, reason
    from ptpp.laws.record import Fit
    from ptpp.laws.uncertainty import Draws
    from ptpp.report.tables import write_table
    from ptpp.table.observations import read_observations

    held_out, target = snakemake.params.held_out, snakemake.params.target
    observations = read_observations(snakemake.input.observations)
    anchors = read_observations(snakemake.input.anchors)
    bands = []
    for fit, path in zip(snakemake.input.fits, snakemake.input.draws, strict=True):
        record, draws = Fit.from_json(fit), Draws.from_npz(path)
        if len(draws.band):
            parts = split_of(record, observations, held_out, anchors)
            bands.append(kappa_band(record, draws, parts.fit, parts.held_out))
            told = reason(sorted(parts.fit["ptpp"].unique())), cure(observations, target, held_out)
            log.warning("%s, %s: %s; %s", record.law, record.protocol, *told)
            bands[-1] = bands[-1].assign(reason=told[0], cure=told[1])
    verdicts = pd.concat([pd.read_csv(path) for path in snakemake.input.verdicts])
    out = snakemake.output
    write_table(verdicts, Path(out.identifiability).with_suffix(""))
    table = pd.concat(bands) if bands else pd.DataFrame(columns=list(BAND_COLUMNS))
    write_table(table, Path(out.kappa_bands).with_suffix(""))
