# A stage of the user's own: an existing checkpoint is checked, measured and linked, not trained.
rule adopt:
    input:
        given_files,
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
        model=one_of(GIVEN),
    priority: pretraining_priority
    conda:
        "../envs/ptpp.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(240),
        devices=size_value("devices", 1),
        micro_batch_tokens=size_value("micro_batch_tokens", 0),
    params:
        model=model_spec,
        ptpp=stage,
        given=given_checkpoint,
        text=text_spec(),
        code=code_digest("ptpp.training.adoption"),
    script:
        "../scripts/adopt.py"
