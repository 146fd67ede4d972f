from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/corpus.smk"
include: "rules/cost.smk"
include: "rules/pretrain.smk"
include: "rules/adopt.smk"
include: "rules/adapt.smk"
include: "rules/observations.smk"
include: "rules/laws.smk"
include: "rules/figures.smk"
include: "rules/plan.smk"
include: "rules/apply.smk"
include: "rules/report.smk"
include: "rules/status.smk"


localrules:
    all,


rule all:
    """Everything, from text to plan and report."""
    default_target: True
    input:
        f"{RESULTS}/report.html",


onstart:
    check_executor()
    # Snakemake's limit on starts per second asks for one more look at all waiting jobs a second for
    # every job that has ended: late in a run that takes a third of a core. Nothing here needs it.
    workflow.scheduler.job_rate_limiter = None
    if not only_prints():
        print(f"how far it is: snakemake status{config['arguments']}", file=sys.stderr)
