rule adapt:
    input:
        checkpoint=f"{RESULTS}/checkpoints/{{model}}/ptpp{{ptpp}}",
        zero_shot=f"{RESULTS}/runs/{{model}}.ptpp{{ptpp}}.zero_shot.csv",
        train=stores("train", LANGUAGES),
        valid=stores("valid", LANGUAGES),
    output:
        f"{RESULTS}/runs/{{model}}.ptpp{{ptpp}}.replay{{replay}}.csv",
    log:
        f"{LOGS}/adapt/{{model}}.ptpp{{ptpp}}.replay{{replay}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/adapt/{{model}}.ptpp{{ptpp}}.replay{{replay}}.tsv"
    conda:
        "../envs/ptpp.yaml"
    threads: 1
    resources:
        mem_mb=growing(2000),
        runtime=growing(240),
        save_every=config["save_every"],  # here, since a changed resource reruns nothing
    params:
        model=model_spec,
        ptpp=stage,
        replay=replay_ratio,
        atpp=list(config["adaptation"]["atpp"]),
        optimiser=adaptation_optimiser(),
        text=text_spec(),
        state=f"{RESULTS}/.state/adapt.{{model}}.ptpp{{ptpp}}.replay{{replay}}",
        code=code_digest("ptpp.training.runs"),
    script:
        "../scripts/adapt.py"


rule observations:
    input:
        observation_sources,
    output:
        report(
            f"{RESULTS}/observations.csv",
            caption="../report/observations.rst",
            category="1 Data",
            labels={"what": "measured losses"},
        ),
    log:
        f"{LOGS}/observations.log",
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        target=TARGET,
        code=code_digest("ptpp.observations"),
    script:
        "../scripts/observations.py"
