"""Fit one law to one domain under one protocol, with its bootstrap draws and its profiles."""

from ptpp.jobs import job as jobs

with jobs.logged(snakemake.log[0]):
    from dataclasses import asdict

    import pandas as pd

    from ptpp.laws import Experiment, FitSettings, bootstrap
    from ptpp.laws.declared import named_law
    from ptpp.laws.identifiability import profile, verdicts
    from ptpp.report.tables import write_csv

    source, params, output = snakemake.input, snakemake.params, snakemake.output
    wildcards = snakemake.wildcards
    experiment = Experiment.read(source.observations, params.held_out, source.anchors)
    law = named_law(wildcards.law, source.declaration or None)
    settings = FitSettings(**params.settings)
    fitted = experiment.fit(law, wildcards.protocol, wildcards.domain, settings)
    fitted = bootstrap(fitted, **params.resampling)
    record, draws = fitted.record, fitted.draws
    lines = profile(fitted)
    found = verdicts(fitted, lines)
    fitted.save(output.fit)
    write_csv(lines, output.profile)
    write_csv(pd.DataFrame([asdict(one) for one in found]), output.verdicts)
    name = f"{record.law}, {record.protocol}, {record.domain}"
    jobs.log.info("%s: objective %.6g, converged: %s", name, record.objective, record.converged)
    jobs.log.info("%d refits; drawn from their band: %s", len(draws.params), draws.drawn or "none")
    for warning in record.warnings:
        jobs.log.warning("%s: %s", name, warning)
    for one in found:
        jobs.log.info("%s: %s", one.verdict, one.words)
