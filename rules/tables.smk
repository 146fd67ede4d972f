rule predictions:
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=f"{RESULTS}/anchors.csv",
        fits=fits(),
    output:
        f"{RESULTS}/tables/predictions.csv",
    log:
        f"{LOGS}/predictions.log",
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        code=code_digest("ptpp.laws.experiment"),
    script:
        "../scripts/predictions.py"


rule scores:
    input:
        observations=f"{RESULTS}/observations.csv",
        anchors=f"{RESULTS}/anchors.csv",
        fits=fits(),
    output:
        csv=report(
            f"{RESULTS}/tables/scores.csv",
            caption="../report/scores.rst",
            category="3 Laws",
            labels={"what": "scores at the held-out stage"},
        ),
        md=f"{RESULTS}/tables/scores.md",
        tex=f"{RESULTS}/tables/scores.tex",
    log:
        f"{LOGS}/scores.log",
    conda:
        "../envs/ptpp.yaml"
    params:
        held_out=HELD_OUT,
        code=code_digest("ptpp.laws.experiment", "ptpp.tables"),
    script:
        "../scripts/scores.py"
