localrules:
    plan,
    plan_regret,
    planner_page,


PAGE_PARTS = ["page.html", "page.css", "search.js", "krige.js", "draw.js", "page.js"]


rule plan_regret:
    """Check every law's plans against the measured cells of the held-out stage."""
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=f"{RESULTS}/anchors.csv",
        fits=judged_fits(),
        draws=judged_fits("npz"),
    output:
        **table_files("plan_regret", "plans checked against measurements", "4 Plan"),
        cases=f"{RESULTS}/tables/plan_regret_cases.csv",
    log:
        f"{LOGS}/plan_regret.log",
    benchmark:
        f"{RESULTS}/benchmarks/plan_regret.tsv"
    priority: 20
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        confidence=config["plan"]["confidence"],
        code=code_digest("ptpp.planning", "ptpp.report.tables"),
    script:
        "../scripts/plan_regret.py"


rule plan:
    """Plan the adaptation by every law, with its limits and alternatives."""
    input:
        fits=planning_fits(),
        draws=planning_fits("npz"),
        observations=f"{RESULTS}/observations.csv",
        anchors=f"{RESULTS}/anchors.csv",
        regret=f"{RESULTS}/tables/plan_regret.csv",
        from_scratch=config["plan"]["from_scratch"] or [],
    output:
        **table_files("plan", "the plan by every law", "4 Plan", "plan_table", "plan"),
        **table_files("robust", "robust plans", "4 Plan", folder="plan"),
        **table_files("least_loss", "the least loss within the limits", "4 Plan", folder="plan"),
        **table_files("relaxations", "what would make a plan feasible", "4 Plan", folder="plan"),
        **table_files("front", "the Pareto front", "4 Plan", folder="plan"),
        **table_files(
            "break_even", "break-even against training from scratch", "4 Plan", folder="plan"
        ),
        **table_files(
            "next_measurement", "the next measurement worth buying", "4 Plan", folder="plan"
        ),
    log:
        f"{LOGS}/plan.log",
    benchmark:
        f"{RESULTS}/benchmarks/plan.tsv"
    priority: 20  # with the fits it waits for, so that the longest chain after training ends first
    conda:
        "../envs/ptpp.yaml"
    params:
        wishes=plan_wishes(),
        held_out=HELD_OUT,
        target=TARGET,
        settings=fit_settings(),
        code=code_digest("ptpp.planning", "ptpp.report.tables"),
    script:
        "../scripts/plan.py"


rule planner_page:
    """Write the interactive planner as one HTML file."""
    input:
        fits=planning_fits(),
        draws=planning_fits("npz"),
        observations=f"{RESULTS}/observations.csv",
        scores=f"{RESULTS}/tables/scores.csv",
        # Files beside Python, whose changes no digest sees.
        parts=[source_path("ptpp", "report", "planner", name) for name in PAGE_PARTS],
    output:
        report(
            f"{RESULTS}/plan/planner.html",
            caption="../report/planner_page.rst",
            category="4 Plan",
            labels={"what": "interactive planner"},
        ),
    log:
        f"{LOGS}/planner_page.log",
    benchmark:
        f"{RESULTS}/benchmarks/planner_page.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        wishes=plan_wishes(),
        law=PLAN_LAW,
        target=TARGET,
        code=code_digest("ptpp.report.planner"),
    script:
        "../scripts/planner_page.py"
