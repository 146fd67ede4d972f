"""Check what is declared of every model from elsewhere against its configuration."""

from ptpp.jobs import job as jobs

with jobs.logged(snakemake.log[0]):
    from ptpp.training.adoption import check_declarations

    check_declarations(snakemake.params.models, snakemake.input.tokenizer, snakemake.output[0])
