# One job adapts one checkpoint at several replay ratios, since starting a process costs seconds; with
# `replays_per_job: 1` every trajectory is a job of its own.
rule adapt:
    """Adapt one checkpoint at several replay ratios, and measure it at every ATPP."""
    input:
        checkpoint=f"{RESULTS}/checkpoints/{{model}}/ptpp{{ptpp}}",
        zero_shot=f"{RESULTS}/runs/{{model}}.ptpp{{ptpp}}.zero_shot.csv",
        train=stores("train", LANGUAGES),
        valid=stores("valid", LANGUAGES),
    output:
        observations=f"{RESULTS}/runs/{{model}}.ptpp{{ptpp}}.replay{{replays}}.csv",
        costs=f"{RESULTS}/costs/{{model}}.ptpp{{ptpp}}.replay{{replays}}.csv",
    log:
        f"{LOGS}/adapt/{{model}}.ptpp{{ptpp}}.replay{{replays}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/adapt/{{model}}.ptpp{{ptpp}}.replay{{replays}}.tsv"
    priority: adaptation_priority
    conda:
        "../envs/ptpp.yaml"
    threads: training_threads("adapt")
    resources:
        **training_resources("adapt"),
    params:
        model=model_record,
        ptpp=stage,
        replays=replay_ratios,
        atpp=list(config["adaptation"]["atpp"]),
        optimiser=adaptation_optimiser,
        text=text_spec(),
        state=f"{RESULTS}/.state/adapt.{{model}}.ptpp{{ptpp}}",
        finished=f"{RESULTS}/.state/finished",
        code=code_digest("ptpp.training.adaptation"),
    script:
        "../scripts/adapt.py"
