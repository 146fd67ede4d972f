localrules:
    report,


rule report:
    """Write report.html, a page to read, and provenance.html, every result with its code."""
    input:
        final_outputs(),
        # Captions and page parts, so that the report is made anew when one changes.
        texts=sorted(source_path("report", path.name) for path in (BASE / "report").glob("*.rst")),
        parts=[source_path("ptpp", "report", "page", name) for name in REPORT_PARTS],
    output:
        page=f"{RESULTS}/report.html",
        provenance=f"{RESULTS}/provenance.html",
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        targets=final_outputs(),
        law=PLAN_LAW,
        code=code_digest("ptpp.report.page"),
        laws=code_digest("ptpp.laws.experiment", "ptpp.planning"),
    script:
        "../scripts/report.py"
