"""Train one byte-level BPE on equal parts of every language, or take over a given tokenizer."""

from ptpp.jobs import job as jobs

with jobs.logged(snakemake.log[0]):
    from ptpp.text.sources import documents
    from ptpp.text.tokenizer import take_tokenizer, train_tokenizer

    params = snakemake.params
    if params.given:
        take_tokenizer(**params.given, vocab_size=params.vocab_size, directory=snakemake.output[0])
    else:
        train_tokenizer(
            {language: documents(spec, "train") for language, spec in params.specs.items()},
            params.vocab_size,
            params.bytes_per_language,
            snakemake.output[0],
            threads=snakemake.threads,
        )
