rule tokenizer:
    """Train the tokenizer of all languages, or take one over."""
    input:
        tokenizer_sources(),
    output:
        directory(f"{RESULTS}/tokenizer"),
    log:
        f"{LOGS}/tokenizer.log",
    benchmark:
        f"{RESULTS}/benchmarks/tokenizer.tsv"
    conda:
        "../envs/ptpp.yaml"
    resources:
        mem_mb=growing(tokenizer_memory()),
        runtime=growing(60),
    params:
        given=EXPERIMENT.external_tokenizer(),
        specs=tokenizer_specs(),
        vocab_size=config["tokenizer"]["vocab_size"],
        bytes_per_language=config["tokenizer"]["bytes_per_language"],
        code=code_digest("ptpp.text.sources", "ptpp.text.tokenizer"),
    script:
        "../scripts/tokenizer.py"


rule tokens_part:
    """Tokenise one part of a training store, where `corpora.parts` asks for several."""
    input:
        lambda wildcards: source_files(wildcards.language),
        tokenizer=f"{RESULTS}/tokenizer",
        valid=excluded_store,
    output:
        temp(directory(f"{RESULTS}/tokens/parts/{{language}}.{{split}}.{{part}}of{{parts}}")),
    log:
        f"{LOGS}/tokens/{{language}}.{{split}}.{{part}}of{{parts}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tokens/{{language}}.{{split}}.{{part}}of{{parts}}.tsv"
    wildcard_constraints:
        part="[0-9]+",
        parts="[0-9]+",
    priority: 100
    conda:
        "../envs/ptpp.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(240),
    params:
        spec=lambda wildcards: text_source(wildcards.language),
        max_tokens=lambda wildcards: LANGUAGES[wildcards.language][f"{wildcards.split}_tokens"],
        state=f"{RESULTS}/.state/tokens.{{language}}.{{split}}.{{part}}of{{parts}}",
        code=code_digest("ptpp.text.sources", "ptpp.text.parts"),
    script:
        "../scripts/tokens_part.py"


rule tokens:
    """Write the token store of one language and split."""
    input:
        lambda wildcards: source_files(wildcards.language),
        tokenizer=f"{RESULTS}/tokenizer",
        valid=excluded_store,
        parts=token_parts,
    output:
        array=f"{RESULTS}/tokens/{{language}}.{{split}}.bin",
        sidecar=f"{RESULTS}/tokens/{{language}}.{{split}}.json",
    log:
        f"{LOGS}/tokens/{{language}}.{{split}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/tokens/{{language}}.{{split}}.tsv"
    priority: 100
    conda:
        "../envs/ptpp.yaml"
    resources:
        mem_mb=growing(2000),
        runtime=growing(240),
    params:
        spec=lambda wildcards: text_source(wildcards.language),
        max_tokens=lambda wildcards: LANGUAGES[wildcards.language][f"{wildcards.split}_tokens"],
        code=code_digest("ptpp.text.sources", "ptpp.text.store"),
    script:
        "../scripts/tokens.py"
