rule anchors:
    input:
        anchor_sources,
    output:
        f"{RESULTS}/anchors.csv",
    log:
        f"{LOGS}/anchors.log",
    benchmark:
        f"{RESULTS}/benchmarks/anchors.tsv"
    priority: 30
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        target=TARGET,
        grid=anchor_grid(),
        number=config["held_out"]["anchors"]["count"],
        seed=config["held_out"]["anchors"]["seed"],
        code=code_digest("ptpp.table.anchors"),
    script:
        "../scripts/anchors.py"
