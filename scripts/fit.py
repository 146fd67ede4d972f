"""Fit one law to one domain under one protocol."""

from ptpp import jobs

with jobs.logged(snakemake.log[0]):
    from ptpp.laws.declared import named_law
    from ptpp.laws.experiment import fit_protocol
    from ptpp.laws.fitting import FitSettings
    from ptpp.observations import read_observations

    wildcards, anchors = snakemake.wildcards, snakemake.input.anchors
    record = fit_protocol(
        read_observations(snakemake.input.observations),
        named_law(wildcards.law, snakemake.input.declaration or None),
        wildcards.protocol,
        wildcards.domain,
        snakemake.params.held_out,
        read_observations(anchors) if anchors else None,
        FitSettings(**snakemake.params.settings),
    )
    record.to_json(snakemake.output[0])
    jobs.log.info("objective %.6g, converged: %s", record.objective, record.converged)
    for warning in record.warnings:
        jobs.log.warning(warning)
