"""A wrong configuration is told in one line, before anything runs."""

import copy
import json
import subprocess
import sys

import pytest
import yaml
from snakemake.utils import update_config

from ptpp.config import Config, check_files, read_command_line, read_config
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


def test_numbers_may_have_a_suffix(config):
    config["plan"]["n_params"] = 8.1e9
    plain = read_config(config)
    config["plan"]["n_params"] = "8.1B"
    config["plan"]["beyond"] = ["8.1B"]
    config["corpora"]["languages"][0]["train_tokens"] = "12.5M"
    assert read_config(config) == plain
    assert read_command_line({"plan": {"n_params": "1.5T"}}) == {"plan": {"n_params": 1.5e12}}


def test_the_default_configuration_is_accepted(config):
    read = read_config(config)
    assert read.anchor_sizes() == ["w16", "w32"]
    # The plan is for the largest measured model, and for one beyond.
    assert read.plan.n_params is None and read.plan.beyond == [8.1e9]


def test_a_plan_may_be_for_measured_models_alone(config):
    plan = {k: v for k, v in config["plan"].items() if k not in ("n_params", "beyond")}
    read = read_config({**config, "plan": plan})
    assert read.plan.n_params is None and read.plan.beyond == []


def test_plans_are_of_all_rows_and_ask_for_no_protocol(config):
    with pytest.raises(InputError, match="plan: unknown key 'protocol'"):
        read_config(changed(config, "plan.protocol", "with_anchors"))
    assert read_config(changed(config, "laws.krige", False)).laws.krige is False
    assert read_config(config).laws.krige is True


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
    (
        "corpora.base",
        {"en": 0.5, "de": 0.5},
        "en, ar; `de: null` takes out an entry of config.yaml",
    ),
    ("plan.forgetting", {"de": 0.1}, "en, ar; `de: null` takes out an entry of config.yaml"),
    ("plan.n_params", "8.1e9", "plan.n_params: found '8.1e9'; expected number (YAML reads 1e9 as"),
    ("tokenizer.bytes_per_language", "1.3e-3B", "expected integer, such as 350M, 7B or 7_000"),
    ("plan.law", "chinchilla", "plan.law: found 'chinchilla'; accepted: dcpt, floor"),
    ("laws.target", ["gatd"], "laws.target.0: found 'gatd'; accepted: dcpt, floor"),
    ("laws.target", ["dcpt", "dcpt"], "laws.target: found ['dcpt', 'dcpt']; holds an entry twice"),
    ("corpora", None, "config: corpora: found None; expected mapping"),
    ("laws.protocols", [], "laws.protocols: found []; needs 1 entries or more"),
    (
        "models.sizes",
        [{"name": "a", "batch_tokens": 128, "seeds": [0]}],
        "models.sizes.0: key 'width' is missing",
    ),
    ("pretraining.decay_fraction", 0, "pretraining.decay_fraction: found 0; must be above 0"),
]


@pytest.mark.parametrize("key,value,message", WRONG)
def test_a_wrong_value_names_its_key_and_what_is_accepted(config, key, value, message):
    with pytest.raises(InputError) as caught:
        read_config(changed(config, key, value))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shapes_that_cannot_be_built_are_refused(config):
    size = dict(config["models"]["sizes"][0])
    with pytest.raises(InputError, match="w16: width 16 is not a multiple of heads 3"):
        read_config(changed(config, "models.sizes", [size | {"heads": 3}]))
    with pytest.raises(InputError, match="batch_tokens 1000 is not a multiple"):
        read_config(changed(config, "models.sizes", [size | {"batch_tokens": 1000}]))
    with pytest.raises(InputError, match="name 'w16' stands there twice"):
        read_config(changed(config, "models.sizes", [size, size]))


RESOURCES = {"threads": 2, "mem": "64GB", "runtime": {"pretrain": "23h", "adapt": 90}, "gpu": 2}


def test_a_size_may_ask_for_devices_and_resources(config):
    size = config["models"]["sizes"][0] | {"batch_tokens": 4096}
    more = {
        "devices": 4,
        "nodes": 2,
        "micro_batch_tokens": 512,
        "resources": RESOURCES | {"slurm_partition": "a"},
    }
    read_config(changed(config, "models.sizes", [size, size | {"name": "big"} | more]))


@pytest.mark.parametrize(
    "key,value,message",
    [
        ("devices", 0, "models.sizes.0.devices: found 0; must be at least 1"),
        ("devices", 3, "batch_tokens 512 is not a multiple of devices 3 times models.context 128"),
        ("nodes", 0, "models.sizes.0.nodes: found 0; must be at least 1"),
        ("nodes", 3, "batch_tokens 512 is not a multiple of nodes 3 times devices 1 times models."),
        ("resources", {"nodes": 2}, "w16: resources: found 'nodes'; accepted: threads, mem_mb"),
        ("micro_batch_tokens", 64, "micro_batch_tokens 64 is not a multiple of models.context 128"),
        ("micro_batch_tokens", 384, "512 is not a multiple of devices 1 times micro_batch_tokens"),
        ("resources", {"runtime": {"fit": 1}}, "unknown key 'fit'; accepted: pretrain, adapt"),
        ("resources", {"pretrain": {"gpu": 1}}, "unknown key 'gpu'; accepted: pretrain, adapt"),
        (
            "resources",
            {"mem_mb": "64GB"},
            "mem_mb: found '64GB'; expected integer, or a mapping of",
        ),
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
        read_config(changed(config, "models.sizes", [size]))
    assert message in str(caught.value)


def test_a_kind_of_gpu_needs_no_number_where_training_takes_gpus(config):
    first, *others = config["models"]["sizes"]
    sizes = [first | {"resources": {"gpu_model": "h100"}}, *others]
    alone = changed(config, "models.sizes", sizes)
    read_config(changed(alone, "device", "cuda"))
    with pytest.raises(InputError, match="gpu_model is asked for, but gpu is 0"):
        read_config(alone)


@pytest.mark.parametrize("source", ["synthetic", "jsonl", "text", "huggingface", "tokens"])
def test_every_source_rejects_keys_it_does_not_know(config, source):
    language = {"name": "en", "source": source, "colour": 1, "train_tokens": 1, "valid_tokens": 1}
    languages = [language, *config["corpora"]["languages"][1:]]
    with pytest.raises(InputError, match="colour"):
        read_config(changed(config, "corpora.languages", languages))


def test_an_unknown_source_is_named(config):
    language = {"name": "en", "source": "csv", "train_tokens": 1, "valid_tokens": 1}
    languages = [language, *config["corpora"]["languages"][1:]]
    accepted = "source: found 'csv'; accepted: synthetic, jsonl, text, huggingface, tokens"
    with pytest.raises(InputError, match=r"config: corpora\.languages\.0\." + accepted):
        read_config(changed(config, "corpora.languages", languages))


def test_ids_need_their_tokenizer_and_what_their_files_do_not_say(config, tmp_path):
    config["tokenizer"] |= {"model": "org/t", "revision": "a" * 40}
    ids = {"name": "en", "source": "tokens", "train": ["a.npy"], "valid": ["a.bin", "b.idx"]}
    ids |= {"vocab_size": 300, "separator": 0, "dtype": "uint16"}
    ids |= {"train_tokens": 1_000_000, "valid_tokens": 100_000}

    def read(**changes):
        entry = {key: value for key, value in (ids | changes).items() if value is not None}
        others = config["corpora"]["languages"][1:]
        return read_config(changed(config, "corpora.languages", [entry, *others]))

    language = read().corpora.languages[0]
    assert language.files("valid") == ["a.bin", "b.idx", "b.bin"]
    for changes, told in [
        ({"separator": None}, "a.npy needs a separator, the id that ends a document"),
        ({"dtype": None}, "a.bin needs dtype, the type of its ids; of Megatron's files name the"),
        ({"train": ["a.npz"]}, "a.npz: accepted are names that end in .npy, .bin and .idx"),
        ({"vocab_size": 10**6}, "vocab_size 1000000 is above tokenizer.vocab_size"),
        ({"dtype": "float32"}, "dtype: found 'float32'; accepted: uint8, uint16"),
        ({"vocab_size": None}, "key 'vocab_size' is missing"),
    ]:
        with pytest.raises(InputError) as caught:
            read(**changes)
        assert told in str(caught.value)
    read(separator=None, dtype=None, train=["a.idx"], valid=["b.idx"])
    (tmp_path / "a.idx").touch()
    paths = {"train": [str(tmp_path / "a.idx")], "valid": [str(tmp_path / "a.idx")]}
    with pytest.raises(InputError, match=r"en: train: .*a\.bin: no such file"):
        check_files(read(**paths))
    (tmp_path / "a.bin").touch()
    with pytest.raises(InputError, match=r"nowhere/tokenizer\.json: no such file"):
        check_files(read(**paths, tokenizer="nowhere"))
    config["tokenizer"] |= {"model": None, "revision": None}
    with pytest.raises(InputError, match="ids of its own; name the one that made them under token"):
        read()


def test_a_missing_key_is_named(config):
    del config["models"]["context"]
    with pytest.raises(InputError, match="config: models: key 'context' is missing"):
        read_config(config)


def test_a_model_name_stands_for_one_model_only(config):
    size = dict(config["models"]["sizes"][0]) | {"seeds": [0, 1]}
    twin = size | {"name": "w16-seed1", "seeds": [0]}
    with pytest.raises(InputError, match="name 'w16-seed1' stands there twice"):
        read_config(changed(config, "models.sizes", [size, twin]))


def test_anchors_must_leave_cells_to_score(config):
    sizes = ["w16", "w32", "w48"]
    every = changed(config, "held_out.anchors", {"count": 75, "sizes": sizes, "seed": 0})
    with pytest.raises(InputError, match="75 anchors leave no cell of the held-out stage"):
        read_config(every)
    alone = changed(config, "models.sizes", config["models"]["sizes"][:1])
    with pytest.raises(InputError, match="only one size has the held-out stage; name it there"):
        read_config(alone)


def given(**changes):
    """A size with checkpoints of the user's own at the three default stages."""
    checkpoints = [
        {"ptpp": p, "model": f"org/name{p}", "revision": "a" * 40, "tokens": p * 1_000_000}
        for p in (15, 31, 279)
    ]
    size = {"name": "mine", "n_params": 1_000_000, "learning_rate": 3e-4, "batch_tokens": 1024}
    return size | {"seeds": [0], "checkpoints": checkpoints} | changes


def test_sizes_of_one_s_own_stand_beside_those_that_are_trained(config):
    mixed = changed(config, "models.sizes", [*config["models"]["sizes"], given()])
    checked = read_config(mixed)
    check_files(checked)  # the Hub is not asked
    assert checked.anchor_sizes() == ["w16", "w32", "w48"]
    assert checked.n_params(checked.size("mine")) == 1_000_000
    assert checked.n_params(checked.size("w16")) == 16_832
    assert read_config(config).external_tokenizer() is None
    assert checked.external_tokenizer() == {"model": "org/name15", "revision": "a" * 40}
    named = read_config(changed(mixed, "tokenizer.model", "org/t"))
    assert named.external_tokenizer() == {"model": "org/t", "revision": None}


def test_a_size_of_one_s_own_may_lack_stages(config):
    late = given(checkpoints=given()["checkpoints"][1:])
    early = given(name="early", checkpoints=given()["checkpoints"][:2])
    both = changed(config, "models.sizes", [late, early])
    both["held_out"]["anchors"] = {"count": 3, "sizes": ["mine"], "seed": 0}
    checked = read_config(both)
    assert checked.stages(checked.size("mine")) == [31, 279]
    assert checked.stages(checked.size("early")) == [15, 31]
    with pytest.raises(InputError, match="only one size has the held-out stage"):
        read_config(changed(both, "held_out.anchors.sizes", None))
    with pytest.raises(InputError, match="'early' has no checkpoint at the held-out stage"):
        read_config(changed(both, "held_out.anchors.sizes", ["early"]))
    with pytest.raises(InputError, match="no size has a checkpoint at 15"):
        read_config(changed(both, "models.sizes", [late]))


def test_checkpoints_must_be_what_their_stage_says(config):
    first, *others = given()["checkpoints"]

    def told(**changes):
        one = given(checkpoints=[first | changes, *others])
        with pytest.raises(InputError) as caught:
            read_config(changed(config, "models.sizes", [one]))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    wrong = "ptpp 15: tokens 17000000 are 17 per parameter (n_params 1000000); accepted is 15"
    assert wrong in told(tokens=17_000_000)
    assert "ptpp 16 is not among pretraining.ptpp; accepted: 15, 31, 279" in told(ptpp=16)
    assert "checkpoints: name '31' stands there twice" in told(ptpp=31)
    assert "ptpp 31 names the model of ptpp 15, org/name31" in told(model="org/name31")
    assert "unknown key 'token'; did you mean 'tokens'?" in told(token=1)
    size = given()
    del size["n_params"]
    with pytest.raises(InputError, match=r"sizes\.0: key 'n_params' is missing"):
        read_config(changed(config, "models.sizes", [size]))
    with pytest.raises(InputError, match=r"sizes\.0: unknown key 'width'"):
        read_config(changed(config, "models.sizes", [given(width=3)]))


def test_models_of_one_s_own_are_directories_or_pinned_hub_ids(config, tmp_path):
    def told(**changes):
        one = given(checkpoints=[given()["checkpoints"][0] | changes])
        alone = changed(config, "models.sizes", [one])
        alone["pretraining"]["ptpp"], alone["held_out"]["ptpp"] = [15], None
        with pytest.raises(InputError) as caught:
            check_files(read_config(alone))
        return str(caught.value)

    assert "models.sizes: mine: ptpp 15: modles/llama: no such directory" in told(
        model="modles/llama", revision=None
    )
    for name in ("../up", "a/b/c", "/etc/passwd", "a/..b", "plain", "a/b?c", "a/b\n"):
        assert "no such directory, and no Hub id" in told(model=name)
    for revision in ("../x", "a b", "-x", "a//b"):
        assert "accepted is a commit or a branch" in told(revision=revision)
    folder = tmp_path / "model"
    folder.mkdir()
    assert "is a directory, which has no revision" in told(model=str(folder))
    here = {"model": str(folder), "revision": None}
    assert "config.json: no such file" in told(**here)
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_text("")
    assert "pytorch_model.bin is a pickle, which is never read" in told(**here)
    (folder / "model.safetensors.index.json").write_text(
        '{"weight_map": {"w": "../x.safetensors"}}'
    )
    assert "names '../x.safetensors'; accepted are safetensors files beside it" in told(**here)
    (folder / "model.safetensors.index.json").unlink()
    (folder / "model.safetensors").write_text("")
    assert "tokenizer.json: no such file; accepted are fast tokenizers" in told(**here)


def test_without_a_held_out_stage_it_is_measured_only(config):
    measured = changed(config, "held_out.ptpp", None)
    measured["pretraining"]["ptpp"] = [15]
    read_config(measured)
    with pytest.raises(InputError, match="null measures only, but a finished table is given"):
        read_config(changed(measured, "observations", "mine.csv"))


def test_null_takes_an_entry_out(config):
    config = changed(config, "corpora.base", {"en": 1.0, "ar": None})
    config["plan"]["forgetting"] = {"en": 0.2, "ar": None}
    read_config(config)
    assert config["corpora"]["base"] == {"en": 1.0}
    assert config["plan"]["forgetting"] == {"en": 0.2}


def test_a_finished_table_brings_its_own_stages_and_domains(config):
    config = changed(config, "observations", "mine.csv")
    config["held_out"]["ptpp"] = 100
    config["corpora"] |= {"target": "code", "base": {"prose": 1.0}}
    config["plan"]["forgetting"] = {}
    read_config(config)


def test_a_missing_file_is_named_even_when_results_exist(config, tmp_path):
    with pytest.raises(InputError, match=r"observations: .*typo\.csv: no such file"):
        check_files(read_config(changed(config, "observations", str(tmp_path / "typo.csv"))))
    language = {"name": "en", "source": "text", "train": [str(tmp_path / "x.txt")], "valid": ["y"]}
    languages = [
        language | {"train_tokens": 10_000, "valid_tokens": 10_000},
        *config["corpora"]["languages"][1:],
    ]
    with pytest.raises(InputError, match=r"corpora\.languages: en: train: .*no such file"):
        check_files(read_config(changed(config, "corpora.languages", languages)))


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
        read_config(both)
        assert overlay["scale"] == path.stem


def test_the_example_of_the_page_on_models_of_one_s_own_is_accepted(config, root):
    page = (root / "docs" / "own-models.md").read_text()
    update_config(config, yaml.safe_load(page.split("```yaml\n")[1].split("```")[0]))
    assert read_config(config).anchor_sizes() == ["small"]


def test_the_schema_accepts_exactly_the_laws_and_protocols_there_are():
    schema = Config.model_json_schema()
    laws = schema["$defs"]["Laws"]["properties"]
    about_target = {name for name, law in LAWS.items() if not law.offset} - {"chinchilla"}
    assert set(laws["target"]["items"]["enum"]) == about_target
    assert set(laws["protocols"]["items"]["enum"]) == set(PROTOCOLS)


def sort_unions(schema):
    """Python holds int | str and str | int for one type; earlier imports decide which it shows."""
    if isinstance(schema, dict):
        schema = {name: sort_unions(value) for name, value in schema.items()}
        return schema | {k: sorted(v, key=json.dumps) for k, v in schema.items() if k == "anyOf"}
    return [sort_unions(each) for each in schema] if isinstance(schema, list) else schema


def test_the_schema_documents_every_section_and_is_printed_as_json(root):
    command = [sys.executable, "-m", "ptpp.config"]
    printed = json.loads(subprocess.run(command, cwd=root, capture_output=True).stdout)
    assert sort_unions(printed) == sort_unions(Config.model_json_schema())
    assert all(section["description"] for section in printed["$defs"].values())
    assert (
        "mean base-domain loss"
        in printed["$defs"]["Plan"]["properties"]["base_loss"]["description"]
    )


def test_what_a_file_leaves_out_has_a_default(config):
    for key in ("columns", "where", "tensorboard", "jobs_per_gpu", "compile"):
        config.pop(key, None)
    config["plan"].pop("base_loss", None)
    read_config(config)
    assert (config["columns"], config["where"], config["tensorboard"]) == ({}, None, False)
    assert config["compile"] == "auto"
    assert config["plan"]["base_loss"] is None
    assert config["pretraining"]["ptpp"] == [15, 31, 279]


READ = [
    ({"tensorboard": "true"}, {"tensorboard": True}),
    ({"compile": "false"}, {"compile": False}),
    ({"compile": "auto"}, {"compile": "auto"}),
    ({"plan": {"law": "gated", "n_params": "1e9"}}, {"plan": {"law": "gated", "n_params": 10**9}}),
    (
        {"plan": {"forgetting": {"en": "0.2", "ar": "null"}}},
        {"plan": {"forgetting": {"en": 0.2, "ar": None}}},
    ),
    ({"laws": {"target": ["dcpt"], "starts": "4"}}, {"laws": {"target": ["dcpt"], "starts": 4}}),
    ({"pretraining": {"ptpp": ["2", "4.5"]}}, {"pretraining": {"ptpp": [2, 4.5]}}),
    (
        {"replays_per_job": "null", "observations": "null"},
        {"replays_per_job": None, "observations": None},
    ),
    ({"scale": 7}, {"scale": "7"}),
    ({"where": "ptpp < 100"}, {"where": "ptpp < 100"}),
    ({"columns": {"D": "adapt_tokens*1e9"}}, {"columns": {"D": "adapt_tokens*1e9"}}),
    ({"laws": "{starts: 4, target: [dcpt]}"}, {"laws": {"starts": 4, "target": ["dcpt"]}}),
    ({"save_every": 2, "device": "cpu"}, {"save_every": 2, "device": "cpu"}),
    ({"jobs_per_gpu": "many", "bogus": "1"}, {"jobs_per_gpu": "many", "bogus": "1"}),
]


@pytest.mark.parametrize("text,value", READ)
def test_the_command_line_is_read_by_the_type_of_the_key(text, value):
    read = read_command_line(text)
    assert read == value
    for key in value:
        assert type(read[key]) is type(value[key])


def test_what_the_command_line_sets_is_checked_as_anything_else(config):
    update_config(config, read_command_line({"plan": {"law": "gatd"}, "tensorboard": "true"}))
    with pytest.raises(InputError, match=r"config: plan\.law: found 'gatd'; accepted: dcpt"):
        read_config(config)
    update_config(config, read_command_line({"plan": {"law": "gated"}, "jobs_per_gpu": "many"}))
    with pytest.raises(InputError, match="config: jobs_per_gpu: found 'many'; expected integer"):
        read_config(config)


def test_keys_about_a_finished_table_need_one(config):
    with pytest.raises(InputError, match="config: where: is about a finished table"):
        read_config(changed(config, "where", "ptpp < 100"))
    mapping = changed(config, "columns", {"D": "adapt_tokens"})
    with pytest.raises(InputError, match="config: columns: is about a finished table"):
        read_config(mapping)
    read_config(changed(mapping, "observations", "mine.csv"))
