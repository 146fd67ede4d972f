"""Profile every parameter of one fit, and say what the rows can tell about it."""

from dataclasses import asdict

import pandas as pd

from ptpp import jobs

with jobs.logged(snakemake.log[0]):
    from ptpp.laws.experiment import split_of
    from ptpp.laws.identifiability import profile, verdicts
    from ptpp.laws.record import Fit
    from ptpp.observations import read_observations
    from ptpp.tables import write_csv

    anchors = snakemake.input.anchors
    record = Fit.from_json(snakemake.input.fit)
    rows = split_of(
        record,
        read_observations(snakemake.input.observations),
        snakemake.params.held_out,
        read_observations(anchors) if anchors else None,
    ).fit
    lines = profile(record, rows)
    found = verdicts(record, lines, rows)
    write_csv(lines, snakemake.output.profile)
    write_csv(pd.DataFrame([asdict(one) for one in found]), snakemake.output.verdicts)
    for one in found:
        jobs.log.info("%s: %s", one.verdict, one.words)
