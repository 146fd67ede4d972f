localrules:
    report,


rule report:
    """Write report.html: results, captions, parameters and code on one page."""
    input:
        final_outputs(),
        # Captions, so that the report is made anew when one changes.
        texts=sorted(source_path("report", path.name) for path in (BASE / "report").glob("*.rst")),
    output:
        f"{RESULTS}/report.html",
    log:
        f"{LOGS}/report.log",
    benchmark:
        f"{RESULTS}/benchmarks/report.tsv"
    conda:
        "../envs/ptpp.yaml"
    params:
        targets=final_outputs(),
    script:
        "../scripts/report.py"
