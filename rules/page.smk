rule planner_page:
    input:
        fits=planned_fits("json"),
        draws=planned_fits("npz"),
        parts=page_parts(),
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
        request=plan_request(),
        headline=plan_headline(),
        code=code_digest("ptpp.report.planner"),
    script:
        "../scripts/planner_page.py"
