localrules:
    figures_sweep,
    figures_laws,
    figures_plan,


rule figures_sweep:
    """Draw what was measured: pre-training, adaptation, forgetting."""
    input:
        observations=f"{RESULTS}/observations.csv",
        curves=last_curves() if "pretraining" in FIGURES["sweep"] else [],
        # A run that only measures has no law.
        predictions=[] if HELD_OUT is None else f"{RESULTS}/tables/predictions.csv",
    output:
        **figure_files("sweep", "2 Sweep"),
    log:
        f"{LOGS}/figures_sweep.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures_sweep.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        target=TARGET,
        law=PLAN_LAW,
        base=BASE_DOMAINS,
        mix=dict(EXPERIMENT.corpora.base),
        decay=trunk_decay(),
        limits={} if HELD_OUT is None else config["plan"]["forgetting"],
        code=code_digest("ptpp.report.figures.sweep"),
    script:
        "../scripts/figures_sweep.py"


rule figures_laws:
    """Draw forecast against measured, how well the laws predict, and what parameters rest on."""
    input:
        predictions=f"{RESULTS}/tables/predictions.csv",
        scores=f"{RESULTS}/tables/scores.csv",
        intervals=f"{RESULTS}/tables/score_intervals.csv",
        profiles=law_fits(PLAN_LAW, "profile.csv", protocols=PROTOCOLS),
        verdicts=law_fits(PLAN_LAW, "verdicts.csv", protocols=PROTOCOLS),
        sweep=f"{RESULTS}/tables/anchor_sweep.csv",
    output:
        **figure_files("laws", "3 Laws"),
    log:
        f"{LOGS}/figures_laws.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures_laws.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        target=TARGET,
        law=PLAN_LAW,
        protocol=PROTOCOLS[-1],
        code=code_digest(
            *(f"ptpp.report.figures.{each}" for each in ["forecast", "laws", "uncertainty"])
        ),
    script:
        "../scripts/figures_laws.py"


rule figures_plan:
    """Draw the plan and its limits over replay and ATPP, and what more compute and forgetting buy."""
    input:
        fits=plan_fits,
        observations=f"{RESULTS}/observations.csv",
        plan=f"{RESULTS}/plan/plan.csv",
        robust=f"{RESULTS}/plan/robust.csv",
        front=f"{RESULTS}/plan/front.csv",
    output:
        **figure_files("plan", "4 Plan"),
    log:
        f"{LOGS}/figures_plan.log",
    benchmark:
        f"{RESULTS}/benchmarks/figures_plan.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        wishes=plan_wishes(),
        law=PLAN_LAW,
        limit=FORGETTING_LIMITS[0] if len(set(FORGETTING_LIMITS)) == 1 else None,
        code=code_digest(
            "ptpp.report.figures.planning", "ptpp.report.figures.pareto", "ptpp.planning"
        ),
    script:
        "../scripts/figures_plan.py"
