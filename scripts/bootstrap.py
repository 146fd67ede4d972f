"""Refit one fit to resampled runs."""

from ptpp import jobs

with jobs.logged(snakemake.log[0]):
    from ptpp.laws.experiment import split_of
    from ptpp.laws.record import Fit
    from ptpp.laws.uncertainty import bootstrap
    from ptpp.observations import read_observations

    anchors = snakemake.input.anchors
    record = Fit.from_json(snakemake.input.fit)
    rows = split_of(
        record,
        read_observations(snakemake.input.observations),
        snakemake.params.held_out,
        read_observations(anchors) if anchors else None,
    ).fit
    draws = bootstrap(record, rows, **snakemake.params.settings)
    draws.to_npz(snakemake.output[0])
    jobs.log.info("%d refits; drawn from their band: %s", len(draws.params), draws.drawn or "none")
