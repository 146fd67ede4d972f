rule pretrain:
    """Pre-train one model to one stage."""
    input:
        tokenizer=f"{RESULTS}/tokenizer",
        train=stores("train", BASES),
        valid=stores("valid", LANGUAGES),
        previous=previous_trunk,
    output:
        checkpoint=directory(f"{RESULTS}/checkpoints/{{model}}/ptpp{{ptpp}}"),
        trunk=f"{RESULTS}/trunks/{{model}}.ptpp{{ptpp}}.safetensors",
        zero_shot=f"{RESULTS}/runs/{{model}}.ptpp{{ptpp}}.zero_shot.csv",
        curve=f"{RESULTS}/curves/{{model}}.ptpp{{ptpp}}.csv",
        cost=f"{RESULTS}/costs/{{model}}.ptpp{{ptpp}}.pretrain.csv",
    log:
        f"{LOGS}/pretrain/{{model}}.ptpp{{ptpp}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/pretrain/{{model}}.ptpp{{ptpp}}.tsv"
    wildcard_constraints:
        model=one_of(TRAINED),
    priority: pretraining_priority
    conda:
        "../envs/ptpp.yaml"
    threads: training_threads("pretrain")
    resources:
        **training_resources("pretrain"),
    params:
        model=model_record,
        ptpp=stage,
        optimiser=pretraining_optimiser(),
        text=text_spec(),
        state=f"{RESULTS}/.state/pretrain.{{model}}.ptpp{{ptpp}}",
        finished=f"{RESULTS}/.state/finished/pretrain.{{model}}.ptpp{{ptpp}}",
        code=code_digest("ptpp.training.pretraining"),
    script:
        "../scripts/pretrain.py"
