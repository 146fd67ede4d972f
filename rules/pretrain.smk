rule pretrain:
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
    log:
        f"{LOGS}/pretrain/{{model}}.ptpp{{ptpp}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/pretrain/{{model}}.ptpp{{ptpp}}.tsv"
    threads: 1
    priority: 50
    resources:
        mem_mb=growing(2000),
        runtime=growing(240),
    params:
        model=model_spec,
        ptpp=stage,
        optimiser=pretraining_optimiser(),
        text=text_spec(),
        state=f"{RESULTS}/.state/pretrain.{{model}}.ptpp{{ptpp}}",
        code=code_digest("ptpp.training.runs"),
    conda:
        "../envs/ptpp.yaml"
    script:
        "../scripts/pretrain.py"
