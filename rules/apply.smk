localrules:
    apply,
    keep_applied,


if PLANNED:

    rule carry_out:
        """Adapt the planned model as its plan says, save it, and measure what was predicted."""
        input:
            plan=f"{RESULTS}/plan/plan.csv",
            robust=f"{RESULTS}/plan/robust.csv",
            fits=plan_fits,
            draws=lambda wildcards: [f"{path[:-5]}.npz" for path in plan_fits(wildcards)],
            checkpoint=f"{RESULTS}/checkpoints/{PLANNED.model}/ptpp{PLANNED.ptpp}",
            tokenizer=f"{RESULTS}/tokenizer",
            train=stores("train", LANGUAGES),
            valid=stores("valid", LANGUAGES),
        output:
            **table_files("comparison", "the plan, carried out", "4 Plan", "applied", "applied"),
            adapted=directory(f"{RESULTS}/applied/checkpoint"),
            zero_shot=f"{RESULTS}/applied/zero_shot.csv",
            observations=f"{RESULTS}/applied/observations.csv",
            cost=f"{RESULTS}/applied/cost.csv",
            text=f"{RESULTS}/applied/applied.txt",
        log:
            f"{LOGS}/carry_out.log",
        benchmark:
            f"{RESULTS}/benchmarks/carry_out.tsv"
        priority: 15
        conda:
            "../envs/ptpp.yaml"
        threads: of_planned(training_threads("adapt"))
        resources:
            **{name: of_planned(value) for name, value in training_resources("adapt").items()},
        params:
            model=of_planned(model_record),
            ptpp=of_planned(stage),
            n_params=EXPERIMENT.n_params(EXPERIMENT.planned_size()),
            law=PLAN_LAW,
            optimiser=of_planned(adaptation_optimiser),
            text=text_spec(),
            state=f"{RESULTS}/.state/carry_out",
            finished=f"{RESULTS}/.state/finished/carry_out",
            code=code_digest("ptpp.training.application", "ptpp.training.outcome"),
        script:
            "../scripts/carry_out.py"


rule apply:
    """Carry the plan out on a checkpoint of this run, and print how good its forecast was."""

    # Without an output it always runs, and so always prints.
    input:
        text=outcome_text,
    log:
        f"{LOGS}/apply.log",
    conda:
        "../envs/ptpp.yaml"
    shell:
        "cat {input.text} 2> {log}"


rule keep_applied:
    """Keep what was measured of the carried-out plan, as rows of the table of the next run."""
    input:
        outcome_rows,
    log:
        f"{LOGS}/keep_applied.log",
    conda:
        "../envs/ptpp.yaml"
    params:
        table=f"{RESULTS}/observations.csv",
        kept=KEPT,
    script:
        "../scripts/keep_applied.py"
