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
include: "rules/anchors.smk"
include: "rules/laws.smk"
include: "rules/tables.smk"
include: "rules/figures.smk"
include: "rules/plan.smk"
include: "rules/page.smk"
include: "rules/status.smk"


# Seconds of work each: a cluster job would cost more than it does.
localrules:
    all,
    report,
    cost,
    cost_estimate,
    status,
    costs,
    observations,
    anchors,
    fit,
    laws,
    predictions,
    scores,
    seed_noise,
    comparison,
    cross_validation,
    identifiability,
    anchor_sweep,
    plan,
    plan_regret,
    planner_page,
    figure_pretraining,
    figure_adaptation,
    figure_forgetting,
    figure_calibration,
    figure_residuals,
    figure_residuals_by_input,
    figure_law_comparison,
    figure_profile,
    figure_anchor_sweep,
    figure_plan,


rule all:
    default_target: True
    input:
        final_outputs(),


# The same by the name of what people read; it is written once everything it shows exists.
rule report:
    input:
        final_outputs(),


onsuccess:
    write_report()
