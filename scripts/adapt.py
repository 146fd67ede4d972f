"""Adapt one checkpoint at one replay ratio and measure every ATPP."""

from ptpp import jobs

with jobs.logged(snakemake.log[0]):
    import torch

    from ptpp.training.runs import Run, Text, adapt, settings_for

    torch.set_num_threads(snakemake.threads)
    params = snakemake.params
    run = Run.of(snakemake.wildcards.model, params.model, params.code)
    adapt(
        run,
        params.ptpp,
        params.replay,
        params.atpp,
        settings_for(params.optimiser, run, params.model["size"]["batch_tokens"]),
        Text.open(snakemake.input.train, snakemake.input.valid, **params.text),
        checkpoint=snakemake.input.checkpoint,
        zero_shot=snakemake.input.zero_shot,
        observations=snakemake.output[0],
        state=params.state,
        save_every_s=snakemake.resources.save_every,
    )
