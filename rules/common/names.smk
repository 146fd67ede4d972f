# The configuration, checked, and the names that follow from it. It is read at every start, so nothing
# heavy is imported.

import json
import os
import shlex
import sys
from inspect import signature
from pathlib import Path
from types import SimpleNamespace

from snakemake.exceptions import WorkflowError
from snakemake.io import apply_wildcards
from snakemake.logging import logger
from snakemake.utils import update_config

BASE = Path(workflow.basedir)
sys.path.insert(0, str(BASE))
# Scripts run in processes of their own and find the package the same way.
os.environ.update(
    PYTHONPATH=os.pathsep.join([str(BASE), *filter(None, [os.environ.get("PYTHONPATH")])])
)

from ptpp.config import check_files, read_command_line, read_config
from ptpp.errors import InputError
from ptpp.jobs.code_digest import code_digest
from ptpp.models.external import model_files, tokenizer_files


def choose_laws():
    """The target laws, the law of the plan, and the base domains that have forgetting laws.

    A finished table may lack base domains, or the base losses that some laws read.
    """
    laws, chosen = EXPERIMENT.target_laws, EXPERIMENT.plan.law
    bases = list(EXPERIMENT.corpora.base)
    if EXPERIMENT.is_trained:
        return laws, chosen, bases
    # Only now, since pandas takes half a second.
    from ptpp.laws.forms import LAWS
    from ptpp.table.kinds import has_base_losses
    from ptpp.table.observations import read_observations

    source, target = EXPERIMENT.observations, EXPERIMENT.corpora.target
    table = read_observations(source, target=target, **table_keys())
    bases = [name for name in bases if name in set(table["domain"])]
    informed = [law for law in laws if law in LAWS and "base_loss" in LAWS[law].inputs]
    if not informed or has_base_losses(table, target):
        return laws, chosen, bases
    why = (
        f"{source}: {', '.join(informed)} read base losses, but not every checkpoint has zero-shot "
        "rows (atpp = 0) of the base domains"
    )
    others = [law for law in laws if law not in informed]
    if not others:
        raise InputError(f"config: laws.target: {why}; accepted are other laws")
    chosen = others[-1] if chosen in informed else chosen
    print(f"{why}; they are left out, and the plan is by {chosen}", file=sys.stderr)
    return others, chosen, bases


def table_keys():
    """How a finished table is read."""
    return {"rename": EXPERIMENT.columns or None, "where": EXPERIMENT.where}


def source_path(*parts):
    """A file of the workflow, relative to the working directory, so that a moved run reruns nothing."""
    return os.path.relpath(BASE.joinpath(*parts))


def configuration_arguments():
    """The arguments of this start that decide its configuration, as a line for a shell."""
    settings = workflow.config_settings
    words = {
        "--configfile": [os.path.relpath(path) for path in settings.configfiles],
        "--config": [
            f"{key}={value if isinstance(value, str) else json.dumps(value)}"
            for key, value in settings.config.items()
        ],
    }
    return "".join(f" {shlex.join([key, *each])}" for key, each in words.items() if each)


def one_of(names):
    """A wildcard's pattern that accepts these names; without names, nothing."""
    return "|".join(names) or "(?!)"


def is_external(size):
    """Whether an entry of models.sizes has checkpoints from elsewhere."""
    return "checkpoints" in size


update_config(config, read_command_line(workflow.config_settings.config))
try:
    EXPERIMENT = read_config(config)
    check_files(EXPERIMENT)
    TARGET_LAWS, PLAN_LAW, BASE_DOMAINS = choose_laws()
except InputError as error:
    sys.exit(f"error: {error}")
config["arguments"] = configuration_arguments()  # the report says how it was made

RESULTS = f"results/{EXPERIMENT.scale}"
LOGS = f"{RESULTS}/logs"
TARGET = EXPERIMENT.corpora.target
BASES = list(EXPERIMENT.corpora.base)
LANGUAGES = {language["name"]: language for language in config["corpora"]["languages"]}
SIZES = {size["name"]: size for size in config["models"]["sizes"]}
STAGES = {f"{ptpp:g}": ptpp for ptpp in config["pretraining"]["ptpp"]}
HELD_OUT = config["held_out"]["ptpp"]
REPLAYS = {
    f"{replay:g}": replay
    for replay in config["adaptation"]["replay"] + config["adaptation"]["controls"]
}
MODELS = EXPERIMENT.model_names  # name -> (size, seed)
EXTERNAL = [m for m, (size, _) in MODELS.items() if is_external(SIZES[size])]
TRAINED = [model for model in MODELS if model not in EXTERNAL]
# Models from elsewhere need not have every stage.
CHECKPOINTS = [
    (model, f"{ptpp:g}")
    for model, (size, _) in MODELS.items()
    for ptpp in EXPERIMENT.stages(EXPERIMENT.size(size))
]
PROTOCOLS = EXPERIMENT.laws.protocols
ALL_ROWS = "all_rows"  # ptpp.table.protocols.ALL_ROWS, without its imports
FIT_PROTOCOLS = [*PROTOCOLS, ALL_ROWS]  # those that judge laws, and the one that plans
DECLARED = EXPERIMENT.declared_laws  # name -> path
LAW_SOURCES = [DECLARED.get(law, law) for law in TARGET_LAWS]  # by name, or where declared by file
BASE_LAWS = EXPERIMENT.laws.base if BASE_DOMAINS else []
# The domains each law is fitted to.
LAWS = {law: [TARGET] for law in TARGET_LAWS} | {law: BASE_DOMAINS for law in BASE_LAWS}


wildcard_constraints:
    model=one_of(MODELS),
    ptpp=one_of(STAGES),
    replays=r"[0-9.+e-]+",
    language=one_of(LANGUAGES),
    split="train|valid",
    law=one_of(LAWS),
