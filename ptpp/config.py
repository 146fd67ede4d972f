"""Is this configuration usable? Its form by JSON Schema, its sense by the checks below."""

import math
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path

import yaml
from jsonschema import Draft202012Validator, ValidationError

from ptpp.errors import InputError

SCHEMA = Path(__file__).parent.parent / "schemas" / "config.schema.yaml"
_RESOURCE = re.compile("[a-z][a-z0-9_]*")
_NO_RESOURCES = ("devices", "jobs_per_gpu", "save_every", "mem_mib")  # set elsewhere, or otherwise


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
    if trained:
        _check_stages(config["pretraining"]["ptpp"], config["held_out"]["ptpp"])
        _check_evaluation(config["corpora"], config["models"]["context"])
    _ascending("adaptation.atpp", config["adaptation"]["atpp"])
    own = [Path(path).stem for path in config["laws"]["declared"]]
    _distinct("laws.target and laws.declared", [*config["laws"]["target"], *own])
    _one_of("plan.law", config["plan"]["law"], [*config["laws"]["target"], *own])
    _one_of("plan.protocol", config["plan"]["protocol"], config["laws"]["protocols"])
    if config["observations"] is None:
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


def anchor_sizes(config: Mapping) -> list[str]:
    """Names of the sizes anchors are taken from: as configured, or all but the widest."""
    chosen = config["held_out"]["anchors"]["sizes"]
    if chosen is not None:
        return list(chosen)
    sizes = config["models"]["sizes"]
    largest = max(sizes, key=lambda size: (size["width"], size["depth"]))
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
        if size["width"] % size["heads"]:
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


def _check_stages(stages: list, held_out: float) -> None:
    _ascending("pretraining.ptpp", stages)
    if held_out not in stages:
        raise InputError(
            f"config: held_out.ptpp: {held_out:g} is not among pretraining.ptpp; "
            f"accepted: {_listed(stages)}"
        )
    if stages.index(held_out) < 2:
        raise InputError(
            f"config: held_out.ptpp: {held_out:g} has {stages.index(held_out)} earlier stages in "
            f"pretraining.ptpp {stages}; laws of PTPP are fitted on two or more"
        )


def _check_anchors(config: Mapping) -> None:
    names = [size["name"] for size in config["models"]["sizes"]]
    sizes = anchor_sizes(config)
    for name in sizes:
        if name not in names:
            raise InputError(
                f"config: held_out.anchors.sizes: {name!r} is no size; accepted: {_listed(names)}"
            )
    adaptation = config["adaptation"]
    cells = len(sizes) * len(adaptation["replay"]) * len(adaptation["atpp"])
    count = config["held_out"]["anchors"]["count"]
    if not sizes:
        raise InputError(
            "config: held_out.anchors.sizes: there is only one size; name it there to take anchors "
            "from it"
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
