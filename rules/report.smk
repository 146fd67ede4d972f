localrules:
    report,


rule report:
    """Write report.html: results, captions, parameters and code on one page."""
    input:
        final_outputs(),
        texts=report_texts(),
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
