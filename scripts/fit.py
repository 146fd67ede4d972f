"""Fit one law to one domain under one protocol, with its bootstrap draws and its profiles."""

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from dataclasses import asdict

    import pandas as pd

    from ptpp.laws.declared import named_law
    from ptpp.laws.experiment import fit_protocol, split_of
    from ptpp.laws.fitting import FitSettings
    from ptpp.laws.identifiability import profile, verdicts
    from ptpp.laws.uncertainty import bootstrap
    from ptpp.report.tables import write_csv
    from ptpp.table.observations import read_observations

    wildcards, params, output = snakemake.wildcards, snakemake.params, snakemake.output
    observations = read_observations(snakemake.input.observations)
    anchors = read_observations(snakemake.input.anchors) if snakemake.input.anchors else None
    record = fit_protocol(
        observations,
        named_law(wildcards.law, snakemake.input.declaration or None),
        wildcards.protocol,
        wildcards.domain,
        params.held_out,
        anchors,
        FitSettings(**params.settings),
    )
    rows = split_of(record, observations, params.held_out, anchors).fit
    draws = bootstrap(record, rows, **params.resampling)
    lines = profile(record, rows)
    found = verdicts(record, lines, rows)
    record.to_json(output.fit)
    draws.to_npz(output.draws)
    write_csv(lines, output.profile)
    write_csv(pd.DataFrame([asdict(one) for one in found]), output.verdicts)
    log.info("objective %.6g, converged: %s", record.objective, record.converged)
    log.info("%d refits; drawn from their band: %s", len(draws.params), draws.drawn or "none")
    for warning in record.warnings:
        log.warning(warning)
    for one in found:
        log.info("%s: %s", one.verdict, one.words)
