"""Tokenise one part of a training store."""

import os

from ptpp.jobs.job import catch_stop, log, run_job

with run_job(snakemake.log[0]), catch_stop() as stopping:
    from ptpp.text.batches import open_encoder
    from ptpp.text.parts import write_part
    from ptpp.text.sources import documents, source_digest
    from ptpp.text.store import held_out_documents

    spec, names, params = snakemake.params.spec, snakemake.wildcards, snakemake.params
    tokens = write_part(
        documents(spec, names.split),
        open_encoder(snakemake.input.tokenizer, spec),
        params.state,
        (int(names.part), int(names.parts)),
        params.max_tokens,
        source_digest(spec),
        held_out_documents(documents(spec, "valid"), snakemake.input.valid),
        stopping,
    )
    os.replace(params.state, snakemake.output[0])
    log.info("%s %s, part %s of %s: %d tokens", names.language, names.split, *names[2:], tokens)
