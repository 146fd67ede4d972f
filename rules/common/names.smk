# The configuration, checked, and the names that follow from it. It is read at every start, so nothing
# heavy is imported.

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from snakemake.exceptions import WorkflowError
from snakemake.io import apply_wildcards
from snakemake.logging import logger

BASE = Path(workflow.basedir)
sys.path.insert(0, str(BASE))
# Scripts run in processes of their own and find the package the same way.
os.environ.update(
    PYTHONPATH=os.pathsep.join([str(BASE), *filter(None, [os.environ.get("PYTHONPATH")])])
)

from ptpp.jobs.code_digest import code_digest
from ptpp.config.checks import (
    anchor_sizes,
    check_config,
    check_files,
    given_tokenizer,
    is_given,
    n_params_of,
    stages_of,
    without_nulls,
)
from ptpp.errors import InputError
from ptpp.models.external import model_files, tokenizer_files

# What the report is given, whose start merges it with config.yaml anew: nulls and all.
AS_GIVEN = json.dumps(config)
without_nulls(config)
try:
    check_config(config)
    check_files(config)
except InputError as error:
    raise WorkflowError(str(error)) from None

RESULTS = f"results/{config['scale']}"
LOGS = f"{RESULTS}/logs"
TARGET = config["corpora"]["target"]
BASES = list(config["corpora"]["base"])
LANGUAGES = {language["name"]: language for language in config["corpora"]["languages"]}
SIZES = {size["name"]: size for size in config["models"]["sizes"]}
STAGES = {f"{ptpp:g}": ptpp for ptpp in config["pretraining"]["ptpp"]}
HELD_OUT = config["held_out"]["ptpp"]
REPLAYS = {
    f"{replay:g}": replay
    for replay in config["adaptation"]["replay"] + config["adaptation"]["controls"]
}
# A model is a size with a seed; the first seed of a size goes by the size's own name.
MODELS = {
    name if place == 0 else f"{name}-seed{seed}": (name, seed)
    for name, size in SIZES.items()
    for place, seed in enumerate(size["seeds"])
}
TRAINED = [model for model, (size, _) in MODELS.items() if not is_given(SIZES[size])]
GIVEN = [model for model in MODELS if model not in TRAINED]
# Models of the user's own need not have every stage.
CHECKPOINTS = [
    (model, f"{ptpp:g}")
    for model, (size, _) in MODELS.items()
    for ptpp in stages_of(SIZES[size], config)
]
FIGURES = ["adaptation", "forgetting"] + ([] if HELD_OUT is None else ["plan"])
LAW_FIGURES = [
    "calibration",
    "residuals",
    "residuals_by_input",
    "law_comparison",
    "profile",
    "anchor_sweep",
]
if config["observations"] is None and TRAINED:
    FIGURES.insert(0, "pretraining")


def one_of(names):
    """A wildcard's pattern that accepts these names; without names, nothing."""
    return "|".join(names) or "(?!)"


wildcard_constraints:
    model="|".join(MODELS),
    ptpp="|".join(STAGES),
    replays=r"[0-9.+e-]+",
    language="|".join(LANGUAGES),
    split="train|valid",
    law="[A-Za-z0-9_-]+",
    protocol="|".join(config["laws"]["protocols"]),
    domain="|".join([TARGET, *BASES]),


def measured_bases():
    """The base languages that have forgetting laws: all, or those a user's table has rows of."""
    if not config["observations"]:
        return BASES
    try:
        with open(config["observations"], encoding="utf-8-sig", newline="") as stream:
            found = {row.get("domain") for row in csv.DictReader(stream)}
    except (OSError, UnicodeDecodeError, csv.Error):
        return BASES  # the rule that reads the table tells what is wrong with it
    return [language for language in BASES if language in found]


# Laws of the user's own go by the name of their file.
DECLARED = {Path(path).stem: path for path in config["laws"]["declared"]}
TARGET_LAWS = [*config["laws"]["target"], *DECLARED]
FITS = [(law, TARGET) for law in TARGET_LAWS] + [
    (law, language) for law in config["laws"]["base"] for language in measured_bases()
]
if not measured_bases():
    FIGURES.remove("forgetting")
