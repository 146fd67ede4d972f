# One job adapts one checkpoint at several replay ratios, since starting a process costs seconds; with
# `replays_per_job: 1` every trajectory is a job of its own.
rule adapt:
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


rule costs:
    input:
        cost_tables(),
    output:
        costs=f"{RESULTS}/costs.csv",
        summary=report(
            f"{RESULTS}/tables/costs.csv",
            caption="../report/costs.rst",
            category="5 Cost",
            labels={"what": "what the sweep took"},
        ),
        summary_md=f"{RESULTS}/tables/costs.md",
        summary_tex=f"{RESULTS}/tables/costs.tex",
    log:
        f"{LOGS}/costs.log",
    benchmark:
        f"{RESULTS}/benchmarks/costs.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        code=code_digest("ptpp.cost.measured", "ptpp.report.tables"),
    script:
        "../scripts/costs.py"


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
    benchmark:
        f"{RESULTS}/benchmarks/observations.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        target=TARGET,
        code=code_digest("ptpp.table.observations"),
    script:
        "../scripts/observations.py"
