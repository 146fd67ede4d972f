"""Write the token store of one language and split."""

from contextlib import nullcontext

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.text.batches import open_encoder
    from ptpp.text.parts import Parts
    from ptpp.text.sources import documents, source_digest
    from ptpp.text.store import held_out_documents, write_store

    if snakemake.config["declarations"]:  # models from elsewhere, whose errors should come first
        from ptpp.training.adoption import check_declarations

        check_declarations(snakemake.config["declarations"], snakemake.input.tokenizer)
    spec, split = snakemake.params.spec, snakemake.wildcards.split
    source, encoder = source_digest(spec), open_encoder(snakemake.input.tokenizer, spec)
    held_out = held_out_documents(documents(spec, "valid"), snakemake.input.valid)
    folders = snakemake.input.parts
    with Parts(folders, encoder, source, held_out) if folders else nullcontext() as parts:
        info = write_store(
            documents(spec, split),
            encoder.tokenizer,
            snakemake.output.array,
            snakemake.params.max_tokens,
            source,
            exclude=held_out,
            threads=snakemake.threads,
            separator=encoder.separator,
            beginning=encoder.beginning,
            parts=parts,
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
