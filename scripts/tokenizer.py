"""Train one byte-level BPE on equal parts of every language's training text."""

from ptpp import jobs

with jobs.logged(snakemake.log[0]):
    from ptpp.corpora.sources import documents
    from ptpp.corpora.tokenizer import train_tokenizer

    streams = {
        language: documents(spec, "train") for language, spec in snakemake.params.specs.items()
    }
    train_tokenizer(
        streams,
        snakemake.params.vocab_size,
        snakemake.params.bytes_per_language,
        snakemake.output[0],
        threads=snakemake.threads,
    )
