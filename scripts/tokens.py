"""Write the token store of one language and split."""

from itertools import islice

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.text.sources import documents, source_digest
    from ptpp.text.store import document_hashes, open_store, write_store
    from ptpp.text.tokenizer import beginning_id, load_tokenizer, separator_id

    if snakemake.config["declarations"]:  # models from elsewhere, whose errors should come first
        from ptpp.training.adoption import check_declarations

        check_declarations(snakemake.config["declarations"], snakemake.input.tokenizer)
    spec, split = snakemake.params.spec, snakemake.wildcards.split
    held_out = set()
    if snakemake.input.valid:
        kept = open_store(snakemake.input.valid).info.documents
        held_out = document_hashes(islice(documents(spec, "valid"), kept))
    info = write_store(
        documents(spec, split),
        load_tokenizer(snakemake.input.tokenizer),
        snakemake.output.array,
        snakemake.params.max_tokens,
        source_digest(spec),
        exclude=held_out,
        threads=snakemake.threads,
        separator=separator_id(snakemake.input.tokenizer),
        beginning=beginning_id(snakemake.input.tokenizer),
    )
    log.info(
        "%s %s: %d tokens, %d bytes, %d documents, %d left out as held-out",
        *(snakemake.wildcards.language, split, info.tokens, info.bytes),
        *(info.documents, info.excluded),
    )
    if info.tokens < snakemake.params.max_tokens:
        log.warning(
            "%s %s: the text ends after %d of %d tokens; runs that need more read it again",
            *(snakemake.wildcards.language, split, info.tokens, snakemake.params.max_tokens),
        )
