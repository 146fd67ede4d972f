# An existing checkpoint is checked, measured and linked instead of trained.
rule adopt:
    """Check, measure and link a checkpoint from elsewhere."""
    input:
        external_files,
        tokenizer=f"{RESULTS}/tokenizer",
        valid=stores("valid", LANGUAGES),
    output:
        checkpoint=directory(f"{RESULTS}/checkpoints/{{model}}/ptpp{{ptpp}}"),
        zero_shot=f"{RESULTS}/runs/{{model}}.ptpp{{ptpp}}.zero_shot.csv",
        cost=f"{RESULTS}/costs/{{model}}.ptpp{{ptpp}}.adopt.csv",
    log:
        f"{LOGS}/adopt/{{model}}.ptpp{{ptpp}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/adopt/{{model}}.ptpp{{ptpp}}.tsv"
    wildcard_constraints:
        model=one_of(EXTERNAL),
    priority: pretraining_priority
    conda:
        "../envs/ptpp.yaml"
    threads: training_threads("adapt")
    resources:
        **training_resources("adapt"),  # a model is measured by what will adapt it
    params:
        model=model_record,
        ptpp=stage,
        entry=external_checkpoint,
        text=text_spec(),
        code=code_digest("ptpp.training.adoption"),
    script:
        "../scripts/adopt.py"
