"""A wrong configuration is told in one line, before anything runs."""

import copy

import pytest
import yaml

from ptpp.config import anchor_sizes, check_config, check_files, without_nulls
from ptpp.errors import InputError
from ptpp.laws import LAWS, PROTOCOLS


@pytest.fixture
def config(root):
    return yaml.safe_load((root / "config.yaml").read_text())


def changed(config, key, value):
    """A copy with the value at a dotted key replaced."""
    config = copy.deepcopy(config)
    *path, last = key.split(".")
    place = config
    for part in path:
        place = place[part]
    place[last] = value
    return config


def test_the_default_configuration_is_accepted(config):
    check_config(config)
    assert anchor_sizes(config) == ["w16", "w32"]


WRONG = [
    ("scal", 1, "top level: unknown key 'scal'; did you mean 'scale'?"),
    ("scale", "../x", "scale: found '../x'; letters, digits, - and _"),
    ("device", "tpu", "device: found 'tpu'; accepted: auto, cpu, cuda"),
    ("pretraining.learning_rate", float("nan"), "pretraining.learning_rate: found nan; accepted"),
    ("held_out.ptpp", 31, "held_out.ptpp: 31 has 1 earlier stages in pretraining.ptpp"),
    ("held_out.anchors.count", 0, "held_out.anchors.count: found 0; must be at least 1"),
    ("corpora.evaluation_tokens", 64, "evaluation_tokens: 64 is less than one context of 128"),
    ("corpora.evaluation_tokens", 200_000, "en: valid_tokens 131072 must be above corpora.evalu"),
    ("plan.min_atpp", 20, "plan.min_atpp: 20 must be below max_atpp 16"),
    ("adaptation.replay", [0, 1.5], "adaptation.replay.1: found 1.5; must be below 1"),
    ("adaptation.replay", [-0.1], "adaptation.replay.0: found -0.1; must be at least 0"),
    ("adaptation.atpp", [4, 2], "adaptation.atpp: [4, 2] must ascend"),
    ("pretraining.ptpp", [31, 15, 279], "pretraining.ptpp: [31, 15, 279] must ascend"),
    ("held_out.ptpp", 100, "held_out.ptpp: 100 is not among pretraining.ptpp; accepted: 15, 31"),
    ("held_out.anchors.count", 51, "51 anchors, but sizes w16, w32 have 50 cells"),
    ("held_out.anchors.sizes", ["w17"], "'w17' is no size; accepted: w16, w32, w48"),
    ("corpora.target", "de", "corpora.target: 'de' is not among corpora.languages"),
    ("corpora.base", {"en": 0.5, "ar": 0.4}, "corpora.base: shares sum to 0.9"),
    ("corpora.base", {"en": 0.5, "fr": 0.5}, "'fr' must be one of corpora.languages other than"),
    ("plan.forgetting", {"fr": 0.1}, "plan.forgetting: 'fr' is no base language"),
    ("plan.n_params", "8.1e9", "plan.n_params: found '8.1e9'; expected number (YAML reads 1e9 as"),
    ("plan.law", "chinchilla", "plan.law: found 'chinchilla'; accepted: dcpt, floor"),
    ("laws.target", ["gatd"], "laws.target.0: found 'gatd'; accepted: dcpt, floor"),
    ("laws.protocols", [], "laws.protocols: found []; needs 1 entries or more"),
    ("models.sizes", [{"name": "a"}], "models.sizes.0: key 'width' is missing"),
    ("pretraining.decay_fraction", 0, "pretraining.decay_fraction: found 0; must be above 0"),
]


@pytest.mark.parametrize("key,value,message", WRONG)
def test_a_wrong_value_names_its_key_and_what_is_accepted(config, key, value, message):
    with pytest.raises(InputError) as caught:
        check_config(changed(config, key, value))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shapes_that_cannot_be_built_are_refused(config):
    size = dict(config["models"]["sizes"][0])
    with pytest.raises(InputError, match="w16: width 16 is not a multiple of heads 3"):
        check_config(changed(config, "models.sizes", [size | {"heads": 3}]))
    with pytest.raises(InputError, match="batch_tokens 1000 is not a multiple"):
        check_config(changed(config, "models.sizes", [size | {"batch_tokens": 1000}]))
    with pytest.raises(InputError, match="name 'w16' stands there twice"):
        check_config(changed(config, "models.sizes", [size, size]))


ASKED = {"threads": 2, "mem": "64GB", "runtime": {"pretrain": "23h", "adapt": 90}, "gpu": 2}


def test_a_size_may_ask_for_devices_and_resources(config):
    size = config["models"]["sizes"][0] | {"batch_tokens": 4096}
    more = {"devices": 4, "micro_batch_tokens": 512, "resources": ASKED | {"slurm_partition": "a"}}
    check_config(changed(config, "models.sizes", [size, size | {"name": "big"} | more]))


@pytest.mark.parametrize(
    "key,value,message",
    [
        ("devices", 0, "models.sizes.0.devices: found 0; must be at least 1"),
        ("devices", 3, "batch_tokens 512 is not a multiple of devices 3 times models.context 128"),
        ("micro_batch_tokens", 64, "micro_batch_tokens 64 is not a multiple of models.context 128"),
        ("micro_batch_tokens", 384, "512 is not a multiple of devices 1 times micro_batch_tokens"),
        ("resources", {"runtime": {"fit": 1}}, "unknown key 'fit'; accepted: pretrain, adapt"),
        ("resources", {"pretrain": {"gpu": 1}}, "unknown key 'gpu'; accepted: pretrain, adapt"),
        ("resources", {"mem_mb": "64GB"}, "mem_mb: found '64GB'; expected integer or object"),
        ("resources", {"gpu": -1}, "resources.gpu: found -1; must be at least 0"),
        ("resources", {"threads": 0}, "resources.threads: found 0; must be at least 1"),
        ("resources", {"devices": 2}, "w16: resources: found 'devices'; accepted: threads, mem_mb"),
        ("resources", {"GPU": 2}, "w16: resources: found 'GPU'; accepted: threads, mem_mb"),
        ("resources", {"gpu": 1, "gres": "gpu:1"}, "gpu and gres say the same; give one"),
        ("resources", {"mem": "1GB", "mem_mb": 1}, "mem and mem_mb say the same; give one"),
        ("resources", {"gpu": 0, "gpu_model": "a100"}, "gpu_model is asked for, but gpu is 0"),
    ],
)
def test_what_a_size_cannot_ask_for_is_named(config, key, value, message):
    size = config["models"]["sizes"][0] | {key: value}
    with pytest.raises(InputError) as caught:
        check_config(changed(config, "models.sizes", [size]))
    assert message in str(caught.value)


@pytest.mark.parametrize("source", ["synthetic", "jsonl", "text", "huggingface"])
def test_every_source_rejects_keys_it_does_not_know(config, source):
    language = {"name": "en", "source": source, "colour": 1, "train_tokens": 1, "valid_tokens": 1}
    languages = [language, *config["corpora"]["languages"][1:]]
    with pytest.raises(InputError, match="colour"):
        check_config(changed(config, "corpora.languages", languages))


def test_a_missing_key_is_named(config):
    del config["models"]["context"]
    with pytest.raises(InputError, match="config: models: key 'context' is missing"):
        check_config(config)


def test_a_model_name_stands_for_one_model_only(config):
    size = dict(config["models"]["sizes"][0]) | {"seeds": [0, 1]}
    twin = size | {"name": "w16-seed1", "seeds": [0]}
    with pytest.raises(InputError, match="name 'w16-seed1' stands there twice"):
        check_config(changed(config, "models.sizes", [size, twin]))


def test_anchors_must_leave_cells_to_score(config):
    sizes = ["w16", "w32", "w48"]
    every = changed(config, "held_out.anchors", {"count": 75, "sizes": sizes, "seed": 0})
    with pytest.raises(InputError, match="75 anchors leave no cell of the held-out stage"):
        check_config(every)
    alone = changed(config, "models.sizes", config["models"]["sizes"][:1])
    with pytest.raises(InputError, match="there is only one size; name it there"):
        check_config(alone)


def test_null_takes_an_entry_out(config):
    config = changed(config, "corpora.base", {"en": 1.0, "ar": None})
    config["plan"]["forgetting"] = {"en": 0.2, "ar": None}
    without_nulls(config)
    check_config(config)
    assert config["corpora"]["base"] == {"en": 1.0}
    assert config["plan"]["forgetting"] == {"en": 0.2}


def test_a_finished_table_brings_its_own_stages_and_domains(config):
    config = changed(config, "observations", "mine.csv")
    config["held_out"]["ptpp"] = 100
    config["corpora"] |= {"target": "code", "base": {"prose": 1.0}}
    config["plan"]["forgetting"] = {}
    check_config(config)


def test_a_missing_file_is_named_even_when_results_exist(config, tmp_path):
    with pytest.raises(InputError, match=r"observations: .*typo\.csv: no such file"):
        check_files(changed(config, "observations", str(tmp_path / "typo.csv")))
    language = {"name": "en", "source": "text", "train": [str(tmp_path / "x.txt")], "valid": []}
    with pytest.raises(InputError, match=r"corpora\.languages: en: train: .*no such file"):
        check_files(changed(config, "corpora.languages", [language]))


def test_every_scale_is_a_valid_overlay(config, root):
    def merged(below, above):
        both = dict(below)
        for key, value in above.items():
            nested = isinstance(value, dict) and isinstance(below.get(key), dict)
            both[key] = merged(below[key], value) if nested else value
        return both

    scales = sorted((root / "scales").glob("*.yaml"))
    assert scales
    for path in scales:
        overlay = yaml.safe_load(path.read_text())
        both = merged(config, overlay)
        without_nulls(both)
        check_config(both)
        assert overlay["scale"] == path.stem


def test_the_schema_accepts_exactly_the_laws_and_protocols_there_are(root):
    schema = yaml.safe_load((root / "schemas" / "config.schema.yaml").read_text())
    laws = schema["properties"]["laws"]["properties"]
    about_target = {name for name, law in LAWS.items() if not law.offset} - {"chinchilla"}
    assert set(laws["target"]["items"]["enum"]) == about_target
    assert set(laws["protocols"]["items"]["enum"]) == set(PROTOCOLS)
