from snakemake.utils import min_version

min_version("9.27")


configfile: "config.yaml"


report: "report/workflow.rst"


include: "rules/common.smk"
include: "rules/corpus.smk"
include: "rules/pretrain.smk"
include: "rules/adapt.smk"
include: "rules/anchors.smk"
include: "rules/laws.smk"
include: "rules/tables.smk"
include: "rules/plan.smk"


rule all:
    default_target: True
    input:
        final_outputs(),


onsuccess:
    write_report()
