# Everything the rules ask for by name. It is read at every start, so nothing heavy is imported.

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

from ptpp.code_digest import code_digest
from ptpp.config import (
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
from ptpp.given import model_files, tokenizer_files

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


def final_outputs():
    """What a complete run leaves for its readers; without a held-out stage, measurements."""
    measured = [
        f"{RESULTS}/observations.csv",
        *([] if config["observations"] else [f"{RESULTS}/costs.csv"]),
        *(f"{RESULTS}/figures/{name}.png" for name in FIGURES),
    ]
    if HELD_OUT is None:
        return [*measured, f"{RESULTS}/tables/seed_noise.csv"]
    return [*measured, f"{RESULTS}/plan/plan.csv", f"{RESULTS}/plan/planner.html", *law_outputs()]


def law_outputs():
    """Everything that says how far the laws can be trusted."""
    names = ["scores", "score_intervals", "coverage", "comparison", "cross_validation"]
    names += ["identifiability", "kappa_bands", "anchor_sweep", "seed_noise"]
    return [
        f"{RESULTS}/anchors.csv",
        *fits(),
        *(f"{RESULTS}/tables/{name}.csv" for name in names),
        *(f"{RESULTS}/figures/{name}.png" for name in LAW_FIGURES),
    ]


def text_source(language):
    """What a source is asked for: a language's entry without the sizes of its stores."""
    spec = LANGUAGES[language]
    return {k: v for k, v in spec.items() if k not in ("name", "train_tokens", "valid_tokens")}


def source_files(*languages):
    """Files that text is read from, so that changed text is tokenised anew."""
    return [
        path
        for language in languages
        for split in ("train", "valid")
        for path in LANGUAGES[language].get(split, [])
    ]


def tokenizer_specs():
    """The text a tokenizer is trained on: none where one is given."""
    if given_tokenizer(config):
        return {}
    return {language: text_source(language) for language in LANGUAGES}


def tokenizer_sources():
    """Files that the tokenizer is made from; one of the Hub has none here."""
    given = given_tokenizer(config)
    if given is None:
        return source_files(*LANGUAGES)
    return tokenizer_files(given["model"]) if Path(given["model"]).is_dir() else []


def corpus_spec(wildcards):
    return text_source(wildcards.language)


def corpus_files(wildcards):
    return source_files(wildcards.language)


def store_tokens(wildcards):
    return LANGUAGES[wildcards.language][f"{wildcards.split}_tokens"]


def excluded_store(wildcards):
    """Training text is written after validation text, whose documents it must not hold."""
    if wildcards.split == "valid":
        return []
    return f"{RESULTS}/tokens/{wildcards.language}.valid.bin"


def stores(split, languages):
    return [f"{RESULTS}/tokens/{language}.{split}.bin" for language in languages]


def model_spec(wildcards):
    """Who is trained, in plain values that Snakemake can compare between runs."""
    size, seed = MODELS[wildcards.model]
    shape = ("n_params",) if is_given(SIZES[size]) else ("width", "depth", "heads")
    return {
        "size": {key: SIZES[size][key] for key in ("name", *shape, "batch_tokens")},
        "seed": seed,
        "context": config["models"]["context"],
        "vocab_size": config["tokenizer"]["vocab_size"],
        "count": config["models"]["count"],
        "device": config["device"],
    }


def text_spec():
    corpora = config["corpora"]
    return {key: corpora[key] for key in ("target", "base", "evaluation_tokens")}


def pretraining_optimiser():
    return {key: value for key, value in config["pretraining"].items() if key != "ptpp"}


def adaptation_optimiser(wildcards):
    """CPT starts from the pre-training peak rate times `rewarm`; a given model has its own."""
    section, before = config["adaptation"], config["pretraining"]
    size = SIZES[MODELS[wildcards.model][0]]
    rate = size["learning_rate"] if is_given(size) else before["learning_rate"]
    keys = ("schedule", "decay_fraction", "warmup", "weight_decay", "betas", "clip")
    return {key: section[key] for key in keys} | {
        "base_width": before["base_width"],
        "learning_rate": rate * section["rewarm"],
    }


def stage(wildcards):
    return STAGES[wildcards.ptpp]


def replay_ratios(wildcards):
    return [REPLAYS[replay] for replay in wildcards.replays.split("+")]


def replay_groups():
    """The replay ratios that share a job, as wildcards: 0+0.05+0.25."""
    names, size = list(REPLAYS), config["replays_per_job"] or len(REPLAYS)
    return ["+".join(names[k : k + size]) for k in range(0, len(names), size)]


def given_checkpoint(wildcards):
    """The checkpoint of the user's own that stands for a stage, as configured."""
    entries = SIZES[MODELS[wildcards.model][0]]["checkpoints"]
    return dict(next(entry for entry in entries if f"{entry['ptpp']:g}" == wildcards.ptpp))


def given_files(wildcards):
    """Files of a checkpoint of the user's own; one of the Hub has none here."""
    model = Path(given_checkpoint(wildcards)["model"])
    if not model.is_dir():
        return []
    brought = tokenizer_files(model) if (model / "tokenizer.json").is_file() else []
    return sorted({*model_files(model), *brought})


def pretraining_priority(wildcards):
    """The longest chain first: what the largest model still has to do decides when all ends."""
    return 1_000_000 + adaptation_priority(wildcards)


def adaptation_priority(wildcards):
    """Large ones first, so that small ones fill the gaps at the end."""
    return n_params_of(SIZES[MODELS[wildcards.model][0]], config)


def cost_request():
    """What the cost of an experiment follows from."""
    keys = ["observations", "corpora", "tokenizer", "models", "pretraining", "adaptation"]
    return {key: config[key] for key in [*keys, "replays_per_job", "cost"]}


def previous_trunk(wildcards):
    """Each stage goes on from the trunk of the stage before it."""
    names = list(STAGES)
    place = names.index(wildcards.ptpp)
    return f"{RESULTS}/trunks/{wildcards.model}.ptpp{names[place - 1]}.safetensors" if place else []


def run_tables(checkpoints=tuple(CHECKPOINTS)):
    """Measured losses of every checkpoint and of every CPT trajectory from it."""
    return [
        f"{RESULTS}/runs/{model}.ptpp{ptpp}.{what}.csv"
        for model, ptpp in checkpoints
        for what in ["zero_shot", *(f"replay{group}" for group in replay_groups())]
    ]


def cost_tables():
    """What every job took that trained or took over a checkpoint."""
    return [
        f"{RESULTS}/costs/{model}.ptpp{ptpp}.{what}.csv"
        for model, ptpp in CHECKPOINTS
        for what in [
            "adopt" if model in GIVEN else "pretrain",
            *(f"replay{group}" for group in replay_groups()),
        ]
    ]


def held_out_stage():
    """The name of the stage that laws must predict."""
    if HELD_OUT is None:
        raise WorkflowError(
            "config: held_out.ptpp: null measures only; laws and plans need a held-out stage, or "
            "`python -m ptpp fit` on the table"
        )
    return f"{HELD_OUT:g}"


def observation_sources(wildcards):
    """The sweep's own measurements, or the user's finished table."""
    return config["observations"] or run_tables()


def anchor_sources(wildcards):
    """Only the held-out runs of the sizes that anchors are taken from."""
    stage = held_out_stage()
    if config["observations"]:
        return f"{RESULTS}/observations.csv"
    sizes = anchor_sizes(config)
    models = [model for model, (size, _) in MODELS.items() if size in sizes]
    return run_tables([pair for pair in CHECKPOINTS if pair[0] in models and pair[1] == stage])


def anchor_grid():
    """The design anchors are chosen from; a user's table brings its own."""
    if config["observations"]:
        return None
    return {
        "sizes": anchor_sizes(config),
        "replay": list(config["adaptation"]["replay"]),
        "atpp": list(config["adaptation"]["atpp"]),
    }


def last_curves():
    """The last stage's curve holds its trunk's whole way."""
    last = list(STAGES)[-1]
    return [f"{RESULTS}/curves/{model}.ptpp{last}.csv" for model in TRAINED]


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


def fits(suffix="json", without=()):
    return [
        f"{RESULTS}/fits/{law}.{protocol}.{domain}.{suffix}"
        for law, domain in FITS
        if law not in without
        for protocol in config["laws"]["protocols"]
    ]


def headline_fits(suffix):
    """Files beside the fits of the law whose plan is drawn, one per protocol."""
    law = plan_headline()["law"]
    return [f"{RESULTS}/fits/{law}.{p}.{TARGET}.{suffix}" for p in config["laws"]["protocols"]]


def planned_fits(suffix):
    """A plan knows no checkpoint's base loss, which the law informed by it needs."""
    return fits(suffix, without=["checkpoint_informed"])


def page_parts():
    """What the interactive planner is made of beside Python, whose changes no digest sees."""
    names = ["page.html", "page.css", "search.js", "draw.js", "page.js"]
    return [str(BASE / "ptpp" / "interactive" / name) for name in names]


def declaration(wildcards):
    """The file that declares a law, for laws that are not in the zoo."""
    return DECLARED.get(wildcards.law, [])


def law_sources():
    """Target laws by name or, where declared, by file."""
    return [DECLARED.get(law, law) for law in TARGET_LAWS]


def fit_anchors(wildcards):
    """Only the protocol that may see anchors depends on them."""
    held_out_stage()
    return f"{RESULTS}/anchors.csv" if wildcards.protocol == "with_anchors" else []


def fit_settings():
    keys = {"huber_delta": "delta", "starts": "starts", "seed": "seed"}
    return {new: config["laws"][old] for old, new in keys.items()}


def bootstrap_settings():
    return {"draws": config["laws"]["bootstrap"], "seed": config["laws"]["seed"]}


def sweep_request():
    return dict(config["laws"]["anchor_sweep"]) | {"seed": config["held_out"]["anchors"]["seed"]}


def plan_headline():
    """The law and protocol whose plan is drawn."""
    return {key: config["plan"][key] for key in ("law", "protocol")}


def plan_request():
    elsewhere = ("law", "protocol", "from_scratch")
    return {k: v for k, v in config["plan"].items() if k not in elsewhere}


def plan_fits(wildcards):
    """The headline's target fit, then a forgetting fit for every base language."""
    headline = plan_headline()
    return [
        f"{RESULTS}/fits/{law}.{headline['protocol']}.{domain}.json"
        for law, domain in FITS
        if law == headline["law"] or domain != TARGET
    ]


def growing(amount):
    """A resource that grows with every retry."""

    def resource(wildcards, attempt):
        return amount * attempt

    return resource


def training_threads(rule):
    """As many as a size asks for in `rule`; else one for each process that its models train on."""

    def threads(wildcards):
        size = SIZES[MODELS[wildcards.model][0]]
        return size_resources(size, rule).get("threads", size.get("devices", 1))

    return threads


def training_resources(rule):
    """What `rule` asks for at each size, and how it trains: a changed resource reruns nothing.

    Numbers of memory and time grow with every retry; texts ("23h") stay as they are.
    """
    default = {"mem": 2000, "runtime": 240}
    asked = {
        name: default | gpus_wanted(size, rule) | size_resources(size, rule)
        for name, size in SIZES.items()
    }

    def resource(name):
        def value(wildcards, attempt):
            found = asked[MODELS[wildcards.model][0]].get(name)
            return found * attempt if name in default and isinstance(found, int) else found

        return value

    def of_size(key, default):
        return lambda wildcards: SIZES[MODELS[wildcards.model][0]].get(key, default)

    names = {name for resources in asked.values() for name in resources} - {"threads"}
    return {name: resource(name) for name in sorted(names)} | {
        "devices": of_size("devices", 1),
        "micro_batch_tokens": of_size("micro_batch_tokens", 0),
        "jobs_per_gpu": config["jobs_per_gpu"],
        "save_every": config["save_every"],
        "tensorboard": int(config["tensorboard"]),
    }


def size_resources(size, rule):
    """A size's own `resources`, of which some may be given by rule.

    Memory goes by `mem`, under which Snakemake takes numbers (MB) and texts ("64GB").
    """
    asked = {
        "mem" if name == "mem_mb" else name: value.get(rule) if isinstance(value, dict) else value
        for name, value in size.get("resources", {}).items()
    }
    return {name: value for name, value in asked.items() if value is not None}


def gpus_wanted(size, rule):
    """Where training must be on GPUs, one for each device; and all that are asked for on one node."""
    asked = size_resources(size, rule)
    if config["device"] == "cuda" and "gres" not in asked:
        asked = {"gpu": size.get("devices", 1)} | asked
    return {"gpu": asked["gpu"], "nodes": 1} if asked.get("gpu") else {}


def beside_others(wildcards):
    """No input. Where only `status` or `cost` is asked for: no lock, no report, few words.

    These two clash with no job at work in this folder, yet Snakemake, once done, removes all locks
    there are. `--nolock` would prevent it, but cannot be said of a rule, so this does the same.
    """
    if set(workflow.dag_settings.targets) in ({"status"}, {"cost"}):
        workflow.persistence.lock = workflow.persistence.noop
        workflow.execution_settings.no_hooks = True
        if not workflow.dryrun:
            logger.setLevel("ERROR")
    return []


def planned(name, what, wildcards=None, **details):
    """A job of a complete run, in the words of `ptpp.status.Planned`."""
    known = getattr(rules, name)
    log, *outputs = [
        apply_wildcards(path, wildcards or {}) for path in (known.log[0], *known.output)
    ]
    job = Path(log).relative_to(LOGS).with_suffix("").as_posix()
    return {"job": job, "what": what, "outputs": tuple(outputs), **details}


def training_jobs():
    """Text, then each stage's pre-training, then its adaptation."""
    if config["observations"]:
        return []
    jobs = [planned("tokenizer", "text")]
    jobs += [
        planned("tokens", "text", {"language": language, "split": split})
        for language in LANGUAGES
        for split in ("train", "valid")
    ]
    checkpoints = [pair for stage in STAGES for pair in CHECKPOINTS if pair[1] == stage]
    for model, ptpp in checkpoints:
        wildcards = {"model": model, "ptpp": ptpp}
        if model in GIVEN:  # not trained, and done in seconds
            jobs.append(planned("adopt", "adoption", wildcards, ptpp=ptpp))
            continue
        details = wildcards | {"size": MODELS[model][0], "runs": 1}
        jobs.append(planned("pretrain", "pre-training", wildcards, **details))
    for model, ptpp in checkpoints:
        for group in replay_groups():
            wildcards = {"model": model, "ptpp": ptpp}
            details = wildcards | {"size": MODELS[model][0], "runs": group.count("+") + 1}
            wildcards = wildcards | {"replays": group}
            jobs.append(planned("adapt", "adaptation", wildcards, **details))
    return jobs


def law_jobs():
    """Fits, and every rule that is a single job."""
    what = "laws and tables"
    if HELD_OUT is None:
        names = ["observations", "costs", "seed_noise", *(f"figure_{name}" for name in FIGURES)]
        return [planned(name, what) for name in names]
    jobs = [
        planned("fit", what, {"law": law, "protocol": protocol, "domain": domain})
        for law, domain in FITS
        for protocol in config["laws"]["protocols"]
    ]
    names = ["observations", "anchors", "predictions", "scores", "seed_noise", "comparison"]
    names += ["cross_validation", "identifiability", "anchor_sweep", "plan", "plan_regret"]
    names += ["planner_page", *(f"figure_{name}" for name in FIGURES + LAW_FIGURES)]
    names += [] if config["observations"] else ["costs"]
    return jobs + [planned(name, what) for name in names]


def sweep_jobs(wildcards):
    """A function of wildcards, so that only `status` waits for it."""
    return training_jobs() + law_jobs()


def write_report():
    """Snakemake's own report beside the results, once everything it shows exists."""
    if not all(Path(path).exists() for path in final_outputs()):
        return
    target = Path(RESULTS) / "report.html"
    with tempfile.TemporaryDirectory() as folder:
        merged = Path(folder) / "config.json"
        merged.write_text(AS_GIVEN)
        page = Path(RESULTS) / ".report.html"
        command = [sys.executable, "-m", "snakemake", "--nolock", "--quiet", "--report", str(page)]
        command += ["--snakefile", workflow.main_snakefile, "--configfile", str(merged)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            page.unlink(missing_ok=True)
            print(f"report not written: {done.stderr.strip().splitlines()[-1]}", file=sys.stderr)
            return
        os.replace(page, target)
    print(f"report: {target}", file=sys.stderr)
