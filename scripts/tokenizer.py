"""Train one byte-level BPE on equal parts of every language, or take over a given tokenizer."""

from ptpp.jobs.job import run_job

with run_job(snakemake.log[0]):
    from ptpp.text.sources import documents
    from ptpp.text.tokenizer import adopt_tokenizer, train_tokenizer

    params = snakemake.params
    if params.given:
        adopt_tokenizer(**params.given, vocab_size=params.vocab_size, directory=snakemake.output[0])
    else:
        train_tokenizer(
            {language: documents(spec, "train") for language, spec in params.specs.items()},
            params.vocab_size,
            params.bytes_per_language,
            snakemake.output[0],
            threads=snakemake.threads,
        )
