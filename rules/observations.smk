localrules:
    observations,
    anchors,


rule observations:
    """Gather all losses, or check the finished table, into observations.csv."""
    input:
        observation_sources,
    output:
        **table_files("seed_noise", "seed noise of every cell", "1 Data"),
        observations=report(
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
        table=table_keys(),
        code=code_digest("ptpp.table.observations", "ptpp.report.tables"),
    script:
        "../scripts/observations.py"


rule anchors:
    """Choose the anchors and collect their measurements."""
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
