"""Is this configuration usable? Its form by JSON Schema, its sense by the checks below."""

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError

from ptpp.errors import InputError
from ptpp.models.external import check_name, model_files, tokenizer_files
from ptpp.models.sizes import shape_of

STAGE_TOLERANCE = 0.02  # of a checkpoint's tokens per parameter

SCHEMA = Path(__file__).parents[2] / "schemas" / "config.schema.yaml"
_RESOURCE = re.compile("[a-z][a-z0-9_]*")
# Set elsewhere, or otherwise.
_NO_RESOURCES = (
    "devices", "jobs_per_gpu", "micro_batch_tokens", "save_every", "tensorboard", "mem_mib",
)  # fmt: skip


def without_nulls(config: Mapping) -> None:
    """Drop the entries of corpora.base and plan.forgetting that an overlay set to null, in place.

    Overlays merge mappings; null is how one takes out an entry of the file below.
    """
    for section, key in (("corpora", "base"), ("plan", "forgetting")):
        entries = (config.get(section) or {}).get(key)
        if isinstance(entries, dict):
            for name in [name for name, value in entries.items() if value is None]:
                del entries[name]


def check_config(config: Mapping) -> None:
    """Raise InputError, one line naming the key, unless `config` can be run."""
    _check_form(config)
    _check_finite(config)
    trained = config["observations"] is None
    _check_languages(config["corpora"], config["plan"], trained)
    _check_sizes(config["models"])
    _check_limits(config["plan"])
    if not trained and config["held_out"]["ptpp"] is None:
        raise InputError("config: held_out.ptpp: null measures only, but a finished table is given")
    if trained:
        for size in config["models"]["sizes"]:
            _check_checkpoints(size, config["pretraining"]["ptpp"])
        _check_stages(config)
        _check_evaluation(config["corpora"], config["models"]["context"])
    _ascending("adaptation.atpp", config["adaptation"]["atpp"])
    own = [Path(path).stem for path in config["laws"]["declared"]]
    _distinct("laws.target and laws.declared", [*config["laws"]["target"], *own])
    _one_of("plan.law", config["plan"]["law"], [*config["laws"]["target"], *own])
    _one_of("plan.protocol", config["plan"]["protocol"], config["laws"]["protocols"])
    if trained and config["held_out"]["ptpp"] is not None:
        _check_anchors(config)


def check_files(config: Mapping) -> None:
    """Raise InputError unless every file that is named is there.

    Snakemake itself misses an input only as long as its results are missing too.
    """
    named = [("laws.declared", path) for path in config["laws"]["declared"]]
    if config["plan"]["from_scratch"] is not None:
        named.append(("plan.from_scratch", config["plan"]["from_scratch"]))
    if config["observations"] is not None:
        named.append(("observations", config["observations"]))
    else:
        for language in config["corpora"]["languages"]:
            for split in ("train", "valid"):
                key = f"corpora.languages: {language['name']}: {split}"
                named += [(key, path) for path in language.get(split, [])]
    for key, path in named:
        if not Path(path).is_file():
            raise InputError(f"config: {key}: {path}: no such file")
    if config["observations"] is None:
        _check_given(config)


def is_given(size: Mapping) -> bool:
    """Whether a size has checkpoints of the user's own instead of a shape to be trained."""
    return "checkpoints" in size


def stages_of(size: Mapping, config: Mapping) -> list[float]:
    """The stages a size has: those of its checkpoints, or all that are trained."""
    stages = config["pretraining"]["ptpp"]
    if not is_given(size):
        return list(stages)
    theirs = {checkpoint["ptpp"] for checkpoint in size["checkpoints"]}
    return [ptpp for ptpp in stages if ptpp in theirs]


def n_params_of(size: Mapping, config: Mapping) -> int:
    """N of a size, by `models.count`: as declared, or by its shape."""
    if is_given(size):
        return size["n_params"]
    models = config["models"]
    shape = shape_of(size, models["context"], config["tokenizer"]["vocab_size"])
    return shape.count(models["count"])


def given_tokenizer(config: Mapping) -> dict | None:
    """`model` and `revision` of the tokenizer to take over; None when one is trained.

    Without a name it is that of the first checkpoint of the user's own.
    """
    section = config["tokenizer"]
    if section["model"] is not None:
        return {"model": section["model"], "revision": section["revision"]}
    for size in filter(is_given, config["models"]["sizes"]):
        first = size["checkpoints"][0]
        return {"model": first["model"], "revision": first.get("revision")}
    return None


def anchor_sizes(config: Mapping) -> list[str]:
    """Names of the sizes anchors are taken from.

    As configured, or all that have the held-out stage but the largest of them.
    """
    chosen = config["held_out"]["anchors"]["sizes"]
    if chosen is not None:
        return list(chosen)
    sizes = _held_out_sizes(config)
    largest = max(sizes, key=lambda size: n_params_of(size, config), default=None)
    return [size["name"] for size in sizes if size is not largest]


def _check_form(config: Mapping) -> None:
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    errors = list(Draft202012Validator(schema).iter_errors(_plain(config)))
    if errors:
        # The deepest complaint is the one that names the culprit.
        raise InputError(_told(max(errors, key=lambda error: len(error.absolute_path))))


def _told(error: ValidationError) -> str:
    place = ".".join(str(part) for part in error.absolute_path) or "top level"
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        unknown = next(key for key in error.instance if key not in known)
        near = get_close_matches(unknown, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"accepted: {_listed(known)}"
        return f"config: {place}: unknown key {unknown!r}; {hint}"
    if error.validator == "required":
        missing = [key for key in error.validator_value if key not in error.instance]
        return f"config: {place}: key {missing[0]!r} is missing"
    accepted = {
        "enum": lambda value: f"accepted: {_listed(value)}",
        "const": lambda value: f"accepted: {value}",
        "type": lambda value: f"expected {value if isinstance(value, str) else ' or '.join(value)}",
        "minimum": lambda value: f"must be at least {value}",
        "maximum": lambda value: f"must be at most {value}",
        "exclusiveMinimum": lambda value: f"must be above {value}",
        "exclusiveMaximum": lambda value: f"must be below {value}",
        "minItems": lambda value: f"needs {value} entries or more",
        "maxItems": lambda value: f"takes {value} entries at most",
        "uniqueItems": lambda _: "holds an entry twice",
        "pattern": lambda _: "letters, digits, - and _ only, at most 41",
    }.get(error.validator)
    if accepted is None:
        return f"config: {place}: {error.message}"
    hint = ""
    if error.validator == "type" and isinstance(error.instance, str) and _is_number(error.instance):
        hint = " (YAML reads 1e9 as text: write 1.0e+9)"
    return f"config: {place}: found {error.instance!r}; {accepted(error.validator_value)}{hint}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_finite(value: object, place: str = "") -> None:
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_finite(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list):
        for item in value:
            _check_finite(item, place)
    elif isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"config: {place}: found {value}; accepted is a finite number")


def _check_evaluation(corpora: Mapping, context: int) -> None:
    wanted = corpora["evaluation_tokens"]
    if wanted < context:
        raise InputError(
            f"config: corpora.evaluation_tokens: {wanted} is less than one context of {context}"
        )
    for language in corpora["languages"]:
        if language["valid_tokens"] <= wanted:
            raise InputError(
                f"config: corpora.languages: {language['name']}: valid_tokens "
                f"{language['valid_tokens']} must be above corpora.evaluation_tokens {wanted}"
            )


def _check_limits(plan: Mapping) -> None:
    if plan["min_atpp"] >= plan["max_atpp"]:
        raise InputError(
            f"config: plan.min_atpp: {plan['min_atpp']:g} must be below max_atpp "
            f"{plan['max_atpp']:g}"
        )


def _check_languages(corpora: Mapping, plan: Mapping, trained: bool) -> None:
    names = [language["name"] for language in corpora["languages"]]
    if not trained:  # the domains of a finished table need no text
        names = [corpora["target"], *corpora["base"]]
    _distinct("corpora.languages", names)
    if corpora["target"] not in names:
        raise InputError(
            f"config: corpora.target: {corpora['target']!r} is not among corpora.languages; "
            f"accepted: {_listed(names)}"
        )
    for language in corpora["base"]:
        if language not in names or language == corpora["target"]:
            raise InputError(
                f"config: corpora.base: {language!r} must be one of corpora.languages "
                f"other than the target; accepted: {_listed(set(names) - {corpora['target']})}"
            )
    total = sum(corpora["base"].values())
    if abs(total - 1) > 1e-9:
        raise InputError(f"config: corpora.base: shares sum to {total:g}; they must sum to 1")
    for language in plan["forgetting"]:
        if language not in corpora["base"]:
            raise InputError(
                f"config: plan.forgetting: {language!r} is no base language; "
                f"accepted: {_listed(corpora['base'])}"
            )


def _check_sizes(models: Mapping) -> None:
    # Seeds after a size's first are models of their own, named <size>-seed<seed>.
    named = [
        size["name"] if place == 0 else f"{size['name']}-seed{seed}"
        for size in models["sizes"]
        for place, seed in enumerate(size["seeds"])
    ]
    _distinct("models.sizes", named)
    for size in models["sizes"]:
        where = f"config: models.sizes: {size['name']}"
        if not is_given(size) and size["width"] % size["heads"]:
            raise InputError(
                f"{where}: width {size['width']} is not a multiple of heads {size['heads']}"
            )
        if size["batch_tokens"] % models["context"]:
            raise InputError(
                f"{where}: batch_tokens {size['batch_tokens']} is not a multiple of "
                f"models.context {models['context']}"
            )
        _check_devices(size, models["context"], where)
        _check_resources(size.get("resources", {}), where)


def _check_devices(size: Mapping, context: int, where: str) -> None:
    """Every device gets as many sequences of a step, and every micro-batch holds as many."""
    devices = size.get("devices", 1)
    micro = size.get("micro_batch_tokens")
    if micro is not None and micro % context:
        raise InputError(
            f"{where}: micro_batch_tokens {micro} is not a multiple of models.context {context}"
        )
    if size["batch_tokens"] % (devices * (micro or context)):
        of = f"models.context {context}" if micro is None else f"micro_batch_tokens {micro}"
        raise InputError(
            f"{where}: batch_tokens {size['batch_tokens']} is not a multiple of devices {devices} "
            f"times {of}"
        )


def _check_resources(resources: Mapping, where: str) -> None:
    for name in resources:
        if not _RESOURCE.fullmatch(name) or name in _NO_RESOURCES:
            raise InputError(
                f"{where}: resources: found {name!r}; accepted: threads, mem_mb, mem, runtime, gpu "
                "and resources that your cluster knows, such as slurm_partition"
            )
    for one, other in (("mem", "mem_mb"), ("gpu", "gres")):
        if one in resources and other in resources:
            raise InputError(f"{where}: resources: {one} and {other} say the same; give one")
    asked = resources.get("gpu", 1)
    if "gpu_model" in resources and 0 in (
        asked.values() if isinstance(asked, Mapping) else [asked]
    ):
        raise InputError(f"{where}: resources: gpu_model is asked for, but gpu is 0")


def _check_checkpoints(size: Mapping, stages: list) -> None:
    """Each is a stage of its own, reached after the tokens that its PTPP says."""
    if not is_given(size):
        return
    where = f"config: models.sizes: {size['name']}: checkpoints"
    _distinct(where.removeprefix("config: "), [f"{c['ptpp']:g}" for c in size["checkpoints"]])
    seen: dict[tuple, float] = {}
    for checkpoint in size["checkpoints"]:
        ptpp, tokens = checkpoint["ptpp"], checkpoint["tokens"]
        if ptpp not in stages:
            raise InputError(
                f"{where}: ptpp {ptpp:g} is not among pretraining.ptpp; accepted: {_listed(stages)}"
            )
        found = tokens / size["n_params"]
        if abs(found / ptpp - 1) > STAGE_TOLERANCE:
            raise InputError(
                f"{where}: ptpp {ptpp:g}: tokens {tokens} are {found:.4g} per parameter "
                f"(n_params {size['n_params']}); accepted is {ptpp:g} within {STAGE_TOLERANCE:.0%}"
            )
        name = (checkpoint["model"], checkpoint.get("revision"))
        if name in seen:
            raise InputError(
                f"{where}: ptpp {ptpp:g} names the model of ptpp {seen[name]:g}, {name[0]}"
            )
        seen[name] = ptpp


def _check_given(config: Mapping) -> None:
    """Models and tokenizers of the user's own: names, and the files of those on this machine."""
    for size in filter(is_given, config["models"]["sizes"]):
        for checkpoint in size["checkpoints"]:
            key = f"config: models.sizes: {size['name']}: ptpp {checkpoint['ptpp']:g}"
            check_name(checkpoint["model"], checkpoint.get("revision"), key)
            if Path(checkpoint["model"]).is_dir():
                model_files(checkpoint["model"])
    section = config["tokenizer"]
    if section["model"] is None and section["revision"] is not None:
        raise InputError("config: tokenizer.revision: is given, but no tokenizer.model")
    tokenizer = given_tokenizer(config)
    if tokenizer is not None:
        check_name(tokenizer["model"], tokenizer["revision"], "config: tokenizer.model")
        if Path(tokenizer["model"]).is_dir():
            tokenizer_files(tokenizer["model"])


def _check_stages(config: Mapping) -> None:
    stages, held_out = config["pretraining"]["ptpp"], config["held_out"]["ptpp"]
    _ascending("pretraining.ptpp", stages)
    for ptpp in stages:
        if not any(ptpp in stages_of(size, config) for size in config["models"]["sizes"]):
            raise InputError(f"config: pretraining.ptpp: no size has a checkpoint at {ptpp:g}")
    if held_out is None:
        return
    if held_out not in stages:
        raise InputError(
            f"config: held_out.ptpp: {held_out:g} is not among pretraining.ptpp; "
            f"accepted: {_listed(stages)}, or null to measure only"
        )
    if stages.index(held_out) < 2:
        raise InputError(
            f"config: held_out.ptpp: {held_out:g} has {stages.index(held_out)} earlier stages in "
            f"pretraining.ptpp {stages}; laws of PTPP are fitted on two or more; null measures only"
        )


def _held_out_sizes(config: Mapping) -> list[Mapping]:
    held_out = config["held_out"]["ptpp"]
    return [size for size in config["models"]["sizes"] if held_out in stages_of(size, config)]


def _check_anchors(config: Mapping) -> None:
    names = [size["name"] for size in _held_out_sizes(config)]
    sizes = anchor_sizes(config)
    for name in sizes:
        if name not in names:
            known = name in [size["name"] for size in config["models"]["sizes"]]
            what = "has no checkpoint at the held-out stage" if known else "is no size"
            raise InputError(
                f"config: held_out.anchors.sizes: {name!r} {what}; accepted: {_listed(names)}"
            )
    adaptation = config["adaptation"]
    cells = len(sizes) * len(adaptation["replay"]) * len(adaptation["atpp"])
    count = config["held_out"]["anchors"]["count"]
    if not sizes:
        raise InputError(
            "config: held_out.anchors.sizes: only one size has the held-out stage; name it there "
            "to take anchors from it"
        )
    if count > cells:
        raise InputError(
            f"config: held_out.anchors.count: {count} anchors, but sizes {_listed(sizes)} have "
            f"{cells} cells at the held-out stage; at most {cells}"
        )
    if count >= len(names) * len(adaptation["replay"]) * len(adaptation["atpp"]):
        raise InputError(
            f"config: held_out.anchors.count: {count} anchors leave no cell of the held-out stage "
            "to score"
        )


def _one_of(key: str, value: object, accepted: Iterable) -> None:
    if value not in accepted:
        raise InputError(f"config: {key}: found {value!r}; accepted: {_listed(accepted)}")


def _ascending(key: str, values: list) -> None:
    if list(values) != sorted(values):
        raise InputError(f"config: {key}: {values} must ascend")


def _distinct(key: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"config: {key}: name {name!r} stands there twice")


def _listed(values: Iterable) -> str:
    return ", ".join(str(value) for value in values)


def _plain(value):
    """Dict subclasses of the workflow engine as plain dicts, which the validator expects."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value
