"""Adapt one checkpoint at several replay ratios and measure every ATPP."""

from ptpp.jobs.job import catch_stop, run_job

with run_job(snakemake.log[0]) as job, catch_stop() as stopping:
    from ptpp.training.launch import train_job

    params, resources = snakemake.params, snakemake.resources
    order = {
        "job": "adapt",
        "model": snakemake.wildcards.model,
        "spec": params.model,
        "code": params.code,
        "ptpp": params.ptpp,
        "replays": params.replays,
        "atpp": params.atpp,
        "optimiser": params.optimiser,
        "text": params.text,
        "train": list(snakemake.input.train),
        "valid": list(snakemake.input.valid),
        "checkpoint": snakemake.input.checkpoint,
        "zero_shot": snakemake.input.zero_shot,
        "observations": snakemake.output.observations,
        "costs": snakemake.output.costs,
        "state": params.state,
        "finished": params.finished,
        "save_every_s": resources.save_every,
        "micro_batch_tokens": resources.micro_batch_tokens or None,
        "events": str(job.results / "tensorboard") if resources.tensorboard else None,
    }
    train_job(order, resources.devices, snakemake.threads, resources.jobs_per_gpu, stopping, job)
