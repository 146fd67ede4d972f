# What the rules share, a file per subject.
include: "common/names.smk"
include: "common/text.smk"
include: "common/training.smk"
include: "common/resources.smk"
include: "common/laws.smk"
include: "common/outputs.smk"
include: "common/applied.smk"
include: "common/status.smk"
