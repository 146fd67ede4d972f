"""Models of one's own are taken over, measured and adapted like those that are trained here."""

import json
import logging
import shutil
from itertools import islice

import numpy as np
import pandas as pd
import pytest
import yaml
from own_models import save_gpt2, save_llama, save_llama_tokenizer
from workflow import copy_workflow

from ptpp.errors import InputError, Interrupted
from ptpp.models import external
from ptpp.models.checkpoint import check_digests, text_of, weights_digest
from ptpp.models.external import fetch_model
from ptpp.models.sizes import Shape
from ptpp.table.observations import read_observations
from ptpp.text.store import open_store, write_store
from ptpp.text.synthetic.documents import generate
from ptpp.text.tokenizer import adopt_tokenizer, beginning_id, load_tokenizer
from ptpp.training.adoption import adopt_checkpoint, check_declarations, count_parameters
from ptpp.training.data import Text
from ptpp.training.job import AdaptJob, MeasureJob, Model, Runtime
from ptpp.training.run import launch_job

LANGUAGES = {"en": "english", "fr": "french"}
TEXT = {"target": "fr", "base": {"en": 1.0}, "evaluation_tokens": 1024}
LLAMA, GPT2 = 23_216, 23_208  # parameters of the two types of tests/shared/own_models.py
OPTIMISER = {
    "schedule": "wsd",
    "decay_fraction": 0.3,
    "warmup": 0.05,
    "learning_rate": 0.01,
    "base_width": 32,
    "weight_decay": 0.1,
    "betas": [0.9, 0.95],
    "clip": 1.0,
}


def declared(size="llama", n_params=LLAMA, **changes):
    """The fields of `Model` as the workflow fills them."""
    fields = {"name": "llama", "size": size, "seed": 0, "n_params": n_params, "batch_tokens": 256}
    return fields | {"context": 32, "vocab_size": 600, "count": "total", "device": "cpu"} | changes


@pytest.fixture(scope="module")
def folder(tmp_path_factory, llama_directory):
    """A tokenizer, token stores and one model of each type."""
    path = tmp_path_factory.mktemp("own")
    brought = shutil.copytree(llama_directory, path / "brought")
    adopt_tokenizer(str(brought), None, 600, path / "tokenizer")
    tokenizer = load_tokenizer(path / "tokenizer")
    for name, language in LANGUAGES.items():
        for split, tokens in (("train", 20_000), ("valid", 2_000)):
            texts = islice(generate(language, 0, split), 200)
            store = path / f"{name}.{split}.bin"
            write_store(texts, tokenizer, store, tokens, "", separator=2, beginning=1)
    save_llama(path / "llama", tokenizer=brought)
    save_gpt2(path / "gpt2", max_shard_size="20KB")
    return path


def stores(folder, split):
    return [str(folder / f"{name}.{split}.bin") for name in LANGUAGES]


def taken(folder, out, model="llama", entry=None, **changes):
    """A checkpoint of the experiment, made from one of the two models."""
    entry = {"model": str(folder / model), "tokens": 1_000_000} | (entry or {})
    text = Text.open([], stores(folder, "valid"), **TEXT).of_measurement()
    fields = {"n_params": GPT2 if model == "gpt2" else LLAMA} | changes
    adopt_checkpoint(entry, Model(**declared(model, **fields)), text, folder / "tokenizer", out)
    return out


def job(folder, out, what, stopping=lambda: False, processes=1, **changes):
    """Measure, or adapt, the checkpoint in `out`."""
    shared = {
        "model": declared(**changes),
        "ptpp": 15,
        "checkpoint": out / "checkpoint",
        "zero_shot": out / "zero_shot.csv",
        "runtime": Runtime(threads=processes, devices=processes, save_every_s=0.0),
    }
    text = TEXT | {"train": stores(folder, "train"), "valid": stores(folder, "valid")}
    if what == "measure":
        record = MeasureJob(**shared, text=text | {"train": []}, cost=out / "cost.csv")
    else:
        record = AdaptJob(
            **shared,
            text=text,
            replays=[0.5],
            atpp=[0.25, 0.5],
            optimiser=OPTIMISER,
            observations=out / "observations.csv",
            costs=out / "costs.csv",
            state=out / "state",
            finished=out / "finished",
        )
    launch_job(record, stopping)


def test_parameters_are_counted_without_reading_weights(folder, tmp_path):
    found, longest = count_parameters(folder / "gpt2", context=32)
    ours = Shape(width=24, depth=1, heads=2, context=64, vocab_size=600)
    assert (found.n_params, longest) == (ours.n_params, 64) == (GPT2, 64)
    assert found.n_params_non_embedding == ours.n_params_non_embedding
    found, longest = count_parameters(folder / "llama", context=32)
    attention = 16 * 16 + 2 * 16 * 8 + 16 * 16
    assert found.n_params_non_embedding == attention + 3 * 16 * 40 + 3 * 16
    assert found.n_params == found.n_params_non_embedding + 2 * 640 * 16 == LLAMA
    shutil.copy(folder / "llama" / "config.json", tmp_path)
    assert count_parameters(tmp_path, context=32)[0] == found


@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_a_model_is_linked_and_measured_as_transformers_does(folder, tmp_path, model):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from ptpp.training.data import evaluation_blocks

    directory = taken(folder, tmp_path / "checkpoint", model)
    kept = {path.name for path in directory.iterdir()}
    weights = {path.name for path in (folder / model).glob("*.safetensors*")}
    assert len(weights) == (1 if model == "llama" else 4)  # one file, or an index and its parts
    ours = {"source.json", "text.json", "sha256.json"}
    of_hub = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
    assert kept == weights | ours | of_hub
    for name in weights:
        assert (directory / name).samefile(folder / model / name), "linked, not copied"

    n_params = {"llama": LLAMA, "gpt2": GPT2}[model]
    job(folder, tmp_path, "measure", size=model, n_params=n_params)
    rows = pd.read_csv(tmp_path / "zero_shot.csv").set_index("domain")
    assert set(rows.n_params) == {n_params} and set(rows.atpp) == {0}
    assert set(rows.stage) == {15} and set(rows.ptpp) == {1_000_000 / n_params}
    loaded = AutoModelForCausalLM.from_pretrained(directory)
    assert AutoTokenizer.from_pretrained(directory).eos_token_id == 2
    for domain in LANGUAGES:
        store = open_store(folder / f"{domain}.valid.bin")
        blocks = torch.from_numpy(evaluation_blocks(store.tokens, 32, 1024, beginning=1))
        assert (blocks[:, 0] == 1).all(), "a Llama reads <s> first"
        with torch.no_grad():
            logits = loaded(blocks[:, :-1]).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), blocks[:, 1:].flatten())
        assert loss.item() == pytest.approx(rows.loss[domain], rel=1e-5)
    cost = pd.read_csv(tmp_path / "cost.csv")
    assert cost.run.tolist() == ["llama.ptpp15.adopted"] and cost.tokens.tolist() == [0]


def test_a_changed_checkpoint_is_noticed(folder, tmp_path):
    directory = taken(folder, tmp_path / "checkpoint", "gpt2")
    digest = weights_digest(directory)
    part = sorted(directory.glob("*.safetensors"))[0]
    data = part.read_bytes()
    part.unlink()  # or the original would change too
    part.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match="is not what was written there"):
        check_digests(directory)
    (directory / "sha256.json").unlink()
    assert weights_digest(directory) != digest


def test_text_that_changed_since_the_measurement_is_refused(folder, tmp_path):
    taken(folder, tmp_path / "checkpoint")
    job(folder, tmp_path, "measure")
    recorded = text_of(tmp_path / "checkpoint")
    text = Text.open(stores(folder, "train"), stores(folder, "valid"), **TEXT)
    assert text.agrees(recorded) and text.agrees(None) and text.agrees(text.of_checkpoint())
    other = Text.open(
        stores(folder, "train"), stores(folder, "valid"), **TEXT | {"evaluation_tokens": 512}
    )
    assert not other.agrees(recorded) and not other.agrees(text.of_checkpoint())


def changed_copy(folder, tmp_path, **config):
    """The Llama model with entries of its config.json replaced."""
    copy = shutil.copytree(folder / "llama", tmp_path / "changed")
    path = copy / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return {"model": str(copy)}


def test_what_a_model_is_declared_to_be_is_checked(folder, tmp_path):
    def told(entry=None, **changes):
        with pytest.raises(InputError) as caught:
            taken(folder, tmp_path / "checkpoint", entry=entry, **changes)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "checkpoint").exists()
        return str(caught.value)

    assert f"n_params 23000 is declared, but {folder}/llama has 23216" in told(n_params=23_000)
    assert "set it to that, and ptpp to 43.07" in told(n_params=23_000)
    non_embedding = told(count="non_embedding")
    assert "has 2736 (models.count: non_embedding)" in non_embedding
    assert "takes 64 tokens at most, but models.context is 128" in told(context=128)


def test_declarations_are_checked_by_config_json_alone(folder, tmp_path):
    """Before any text is tokenised: neither weights nor text are there yet."""
    for name in ("llama", "gpt2"):
        (tmp_path / name).mkdir()
        shutil.copy(folder / name / "config.json", tmp_path / name)

    def check(**changes):
        models = [
            {
                "model": declared(name, n_params=n_params) | changes,
                "entry": {"model": str(tmp_path / name), "ptpp": 15, "tokens": 1_000_000},
            }
            for name, n_params in (("llama", LLAMA), ("gpt2", GPT2))
        ]
        check_declarations(models, folder / "tokenizer")

    with pytest.raises(InputError, match=r"llama: n_params 23000 is declared, but .* has 23216"):
        check(n_params=23_000)
    with pytest.raises(InputError, match="takes 64 tokens at most"):
        check(context=128)
    check()
    config = tmp_path / "gpt2" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"vocab_size": 599}))
    with pytest.raises(InputError, match="vocabulary of 599 cannot hold the tokenizer's 600 ids"):
        models = [
            {
                "model": declared("gpt2", GPT2 - 24),
                "entry": {"model": str(tmp_path / "gpt2"), "ptpp": 15, "tokens": 1_000_000},
            }
        ]
        check_declarations(models, folder / "tokenizer")


def test_a_vocabulary_too_small_for_the_tokenizer_is_refused(folder, tmp_path):
    entry = changed_copy(folder, tmp_path, vocab_size=599)
    with pytest.raises(InputError, match="vocabulary of 599 cannot hold the tokenizer's 600 ids"):
        taken(folder, tmp_path / "checkpoint", entry=entry, n_params=LLAMA - 2 * 41 * 16)


def test_another_tokenizer_beside_the_weights_is_refused(folder, tmp_path):
    entry = changed_copy(folder, tmp_path)
    other = save_llama_tokenizer(tmp_path / "other", vocab_size=500)
    shutil.copy(other / "tokenizer.json", entry["model"])
    with pytest.raises(InputError, match=r"its vocabulary or merges \(model\) is not that"):
        taken(folder, tmp_path / "checkpoint", entry=entry)


def test_a_tokenizer_that_asks_for_no_first_token_gets_none(folder, tmp_path):
    assert beginning_id(folder / "tokenizer") == 1
    copy = shutil.copytree(folder / "tokenizer", tmp_path / "tokenizer")
    path, config = copy / "tokenizer.json", copy / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"post_processor": None}))
    config.write_text(json.dumps(json.loads(config.read_text()) | {"add_bos_token": False}))
    assert beginning_id(copy) is None
    config.write_text(json.dumps(json.loads(config.read_text()) | {"add_bos_token": True}))
    assert beginning_id(copy) == 1


def test_a_tokenizer_that_transformers_reads_otherwise_is_refused(folder, tmp_path):
    """Llama's class puts its own rules for spaces in the place of those of the file."""
    copy = shutil.copytree(folder / "brought", tmp_path / "brought")
    path, config = copy / "tokenizer.json", copy / "tokenizer_config.json"
    split = {"type": "Whitespace"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"pre_tokenizer": split}))
    adopt_tokenizer(str(copy), None, 600, tmp_path / "kept")
    record = json.loads(config.read_text()) | {"tokenizer_class": "LlamaTokenizer"}
    config.write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"by which transformers reads it, give other ids"):
        adopt_tokenizer(str(copy), None, 600, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()


def test_two_stages_with_the_same_weights_are_refused(folder, tmp_path):
    taken(folder, tmp_path / "model" / "ptpp15")
    same = shutil.copytree(folder / "llama", tmp_path / "same")
    with pytest.raises(InputError) as caught:
        taken(folder, tmp_path / "model" / "ptpp31", entry={"model": str(same)})
    assert str(caught.value).startswith(f"model: ptpp31 ({same}) and ptpp15 ({folder}/llama) have")
    assert not (tmp_path / "model" / "ptpp31").exists()
    taken(folder, tmp_path / "model" / "ptpp15", entry={"model": str(same)})  # the same stage anew
    taken(folder, tmp_path / "other" / "ptpp31")  # another model


def test_a_model_that_sees_pictures_too_is_read_as_a_model_of_text(tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, Gemma3Config

    from ptpp.models.backend import open_model

    text = {"vocab_size": 700, "hidden_size": 16, "intermediate_size": 32, "head_dim": 8}
    text |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1}
    text |= {"max_position_embeddings": 64}
    vision = {"hidden_size": 8, "intermediate_size": 8, "image_size": 28, "patch_size": 14}
    vision |= {"num_hidden_layers": 1, "num_attention_heads": 2}
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=1)
    model = AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    found, longest = count_parameters(tmp_path, context=32)
    assert (found.vocab_size, longest) == (700, 64)
    assert found.n_params == sum(each.numel() for each in model.parameters())
    backend = open_model(tmp_path, None, 32)
    blocks = torch.randint(700, (2, 33), generator=torch.Generator().manual_seed(0))
    assert backend.gradients(blocks).item() == pytest.approx(backend.loss(blocks))


def test_a_large_padded_vocabulary_tied_and_in_bfloat16(tmp_path):
    """More ids than two bytes hold, and more in the model than in its tokenizer."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, LlamaConfig

    from ptpp.models.backend import open_model
    from ptpp.training.data import evaluation_blocks

    words = {"</s>": 0} | {f"w{number}": number for number in range(1, 66_000)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="</s>"))
    write_store([f"w{65_900 + n}" for n in range(40)], tokenizer, tmp_path / "fr.valid.bin", 80, "")
    store = open_store(tmp_path / "fr.valid.bin")
    assert store.info.dtype == "uint32" and store.tokens.max() == 65_939
    config = LlamaConfig(
        **{"vocab_size": 66_048, "hidden_size": 8, "intermediate_size": 8},
        **{"num_hidden_layers": 1, "num_attention_heads": 1, "tie_word_embeddings": True},
    )
    model = AutoModelForCausalLM.from_config(config).bfloat16()
    model.save_pretrained(tmp_path)
    assert count_parameters(tmp_path, 16)[0].n_params == sum(p.numel() for p in model.parameters())
    backend = open_model(tmp_path, None, 16)
    blocks = torch.from_numpy(evaluation_blocks(store.tokens, 16, 64))
    with torch.no_grad():
        logits = model.float()(blocks[:, :-1]).logits.flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, blocks[:, 1:].flatten()).item()
    assert backend.losses.in_chunks and backend.loss(blocks) == pytest.approx(expected, rel=1e-5)


def test_pickles_are_never_read(folder, tmp_path):
    entry = changed_copy(folder, tmp_path)
    weights = tmp_path / "changed" / "model.safetensors"
    weights.rename(weights.with_name("pytorch_model.bin"))
    with pytest.raises(InputError, match=r"pytorch_model\.bin is a pickle, which is never read"):
        taken(folder, tmp_path / "checkpoint", entry=entry)


def test_code_of_a_checkpoint_is_never_run(folder, tmp_path):
    auto = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
    entry = changed_copy(folder, tmp_path, model_type="mine", auto_map=auto)
    (tmp_path / "changed" / "mine.py").write_text("raise SystemExit('run')\n")
    with pytest.raises(InputError, match="model_type 'mine' is none that transformers knows"):
        taken(folder, tmp_path / "checkpoint", entry=entry)
    shutil.rmtree(tmp_path / "changed")
    entry = changed_copy(folder, tmp_path, auto_map=auto)
    (tmp_path / "changed" / "mine.py").write_text("raise SystemExit('run')\n")
    directory = taken(folder, tmp_path / "checkpoint", entry=entry)
    assert not (directory / "mine.py").exists()
    job(folder, tmp_path, "measure")


def test_quantised_weights_are_refused(folder, tmp_path):
    entry = changed_copy(folder, tmp_path, quantization_config={"quant_method": "gptq", "bits": 4})
    with pytest.raises(InputError, match="quantised weights cannot be trained on"):
        taken(folder, tmp_path / "checkpoint", entry=entry)


def test_weights_that_do_not_fit_their_configuration_are_refused(folder, tmp_path):
    entry = changed_copy(folder, tmp_path, num_hidden_layers=2)
    more = LLAMA + 2736 - 16
    taken(folder, tmp_path / "checkpoint", entry=entry, n_params=more)
    with pytest.raises(InputError, match=r"its weights are not those of its config\.json") as error:
        job(folder, tmp_path, "measure", n_params=more)
    assert str(error.value).endswith(f"(linked from {tmp_path}/changed)")


def test_a_model_without_finite_losses_is_refused(folder, tmp_path):
    from safetensors.torch import load_file, save_file

    entry = changed_copy(folder, tmp_path)
    weights = tmp_path / "changed" / "model.safetensors"
    tensors = load_file(weights)
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    taken(folder, tmp_path / "checkpoint", entry=entry)
    with pytest.raises(InputError, match="loss is nan; expected a finite number"):
        job(folder, tmp_path, "measure")


def test_models_of_the_hub_are_downloaded_at_their_revision(folder, tmp_path, monkeypatch, caplog):
    """Without a network: what the library is asked for, and what is made of its answers."""
    import huggingface_hub

    asked = {}

    def download(model, **arguments):
        asked.update(arguments, model=model)
        return str(tmp_path / ("c" * 40))

    (tmp_path / ("c" * 40)).mkdir()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    caplog.set_level(logging.WARNING, "ptpp")
    assert fetch_model("org/name", "step6000", ["*.json"]).name == "c" * 40
    assert asked == {"model": "org/name", "revision": "step6000", "allow_patterns": ["*.json"]}
    assert "revision step6000 can change; pin what was read: revision: ccc" in caplog.text
    caplog.clear()
    fetch_model("org/name", "c" * 40, ["*.json"])
    assert not caplog.text

    def offline(*_, **__):
        raise ConnectionError("no network\nat all")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(InputError, match=r"revision main: not to be had .*no network at all"):
        fetch_model("org/name", "main", ["*.json"])
    assert not any(name.endswith((".bin", ".py", "*")) for name in _patterns())


def _patterns():
    from ptpp.training.adoption import PATTERNS

    return (*PATTERNS, *external.TOKENIZER_FILES)


@pytest.fixture(scope="module")
def uninterrupted(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    taken(folder, out / "checkpoint")
    job(folder, out, "measure")
    job(folder, out, "adapt")
    return out


def test_adaptation_lowers_the_target_loss(uninterrupted):
    before = pd.read_csv(uninterrupted / "zero_shot.csv").set_index("domain").loss
    rows = pd.read_csv(uninterrupted / "observations.csv")
    french = rows[rows.domain == "fr"].sort_values("atpp")
    assert french.atpp.tolist() == [0.25, 0.5]
    assert before["fr"] > french.loss.iloc[0] > french.loss.iloc[1]
    assert (rows.n_params == LLAMA).all() and (rows.n_params_non_embedding == 2736).all()
    assert not (uninterrupted / "state").exists()


def test_stopped_and_resumed_it_measures_the_same_bits(folder, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted / "checkpoint", tmp_path / "checkpoint")
    shutil.copy(uninterrupted / "zero_shot.csv", tmp_path)
    steps = iter(range(1000))
    for _ in range(3):  # once on the trunk, once in each decay
        with pytest.raises(Interrupted, match="asked to stop"):
            job(folder, tmp_path, "adapt", stopping=lambda: next(steps) % 12 == 11)
    job(folder, tmp_path, "adapt")
    expected = (uninterrupted / "observations.csv").read_bytes()
    assert (tmp_path / "observations.csv").read_bytes() == expected


@pytest.mark.usefixtures("forked_python")
def test_two_processes_share_a_model_of_one_s_own(folder, uninterrupted, tmp_path):
    shutil.copytree(uninterrupted / "checkpoint", tmp_path / "checkpoint")
    shutil.copy(uninterrupted / "zero_shot.csv", tmp_path)
    job(folder, tmp_path, "adapt", processes=2)
    alone, shared = (
        pd.read_csv(path / "observations.csv").loss for path in (uninterrupted, tmp_path)
    )
    assert shared.to_list() == pytest.approx(alone.to_list(), rel=1e-3)
    assert set(pd.read_csv(tmp_path / "costs.csv").devices) == {2}


STAGES = (2, 4, 8)


def experiment(folder, tokenizer):
    """Two sizes of one's own, at three stages and at one, on French text and English ids."""
    brought = shutil.copytree(tokenizer, folder / "brought")
    for name, language in LANGUAGES.items():
        for split in ("train", "valid"):
            texts = [*islice(generate(language, 0, split), 30 if split == "train" else 10)]
            (folder / f"{name}.{split}.txt").write_text("\n\n".join(texts))
            encoded = load_tokenizer(brought).encode_batch(texts, add_special_tokens=False)
            ids = [[*one.ids, 2] for one in encoded]
            np.save(folder / f"{name}.{split}.npy", np.concatenate(ids).astype(np.uint16))
    sizes = []
    for name, save, n_params, stages in (
        ("llama", save_llama, LLAMA, STAGES),
        ("gpt2", save_gpt2, GPT2, STAGES[2:]),
    ):
        checkpoints = []
        for ptpp in stages:
            save(folder / "models" / f"{name}-{ptpp}", seed=ptpp, tokenizer=brought)
            model, tokens = f"models/{name}-{ptpp}", round(1.08 * ptpp * n_params)
            checkpoints.append({"ptpp": ptpp, "model": model, "tokens": tokens})
        size = {"name": name, "n_params": n_params, "learning_rate": 0.02, "batch_tokens": 256}
        sizes.append(size | {"seeds": [0], "checkpoints": checkpoints})
    languages = [
        {
            "name": name,
            "source": "text",
            **{split: [f"{name}.{split}.txt"] for split in ("train", "valid")},
            "train_tokens": 12_000,
            "valid_tokens": 2_000,
        }
        for name in LANGUAGES
    ]
    languages[0] |= {split: [f"en.{split}.npy"] for split in ("train", "valid")}
    languages[0] |= {"source": "tokens", "vocab_size": 600, "separator": 2, "tokenizer": "brought"}
    return {
        "scale": "own",
        "corpora": {
            "target": "fr",
            "base": {"en": 1.0, "ar": None},
            "languages": languages,
            "evaluation_tokens": 1_024,
        },
        "tokenizer": {"vocab_size": 600},
        "models": {"context": 32, "sizes": sizes},
        "pretraining": {"ptpp": list(STAGES)},
        "adaptation": {"replay": [0, 0.5], "controls": [], "atpp": [0.25, 0.5]},
        "held_out": {"ptpp": 8, "anchors": {"count": 2}},
        "laws": {"starts": 2, "bootstrap": 10},
        "plan": {"forgetting": {"ar": None}},
    }


OWN = ["--configfile", "own.yaml"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, llama_directory, snakemake):
    """The experiment, run from the files of its models to the table of losses."""
    folder = copy_workflow(tmp_path_factory.mktemp("experiment") / "ptpp")
    (folder / "own.yaml").write_text(yaml.safe_dump(experiment(folder, llama_directory)))
    done = snakemake(folder, LOSSES, *OWN)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


LOSSES = "results/own/observations.csv"


def planned(finished, snakemake, target, change=None):
    arguments = [target, *OWN]
    if change is not None:
        (finished / "change.yaml").write_text(yaml.safe_dump(change))
        arguments.append("change.yaml")
    done = snakemake(finished, "--dry-run", *arguments)
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [line.split() for line in (done.stdout + done.stderr).splitlines()]
    return {
        words[0]: int(words[1])
        for words in lines
        if len(words) == 2 and words[1].isdigit() and words[0] not in (target, "total")
    }


def test_models_of_one_s_own_run_from_their_files_to_a_table_of_losses(finished, snakemake):
    table = read_observations(finished / LOSSES, held_out=8, target="fr")
    cells = table.groupby(["size", "ptpp"]).size()
    assert len(cells) == 4 and (cells == 2 * (1 + 2 * 2)).all()
    assert set(table.stage) == set(STAGES)
    assert (table.ptpp / table.stage).tolist() == pytest.approx([1.08] * len(table), rel=1e-3)
    assert dict(table.groupby("size").n_params.first()) == {"llama": LLAMA, "gpt2": GPT2}
    assert table.loss.between(1, 8).all()
    assert not list(finished.glob("results/own/trunks/*"))
    for name in LANGUAGES:
        info = json.loads((finished / f"results/own/tokens/{name}.train.json").read_text())
        assert (info["separator"], info["beginning"]) == (2, 1)
    assert planned(finished, snakemake, LOSSES) == {}


def test_the_whole_report_is_planned_without_any_pre_training(finished, snakemake):
    jobs = planned(finished, snakemake, "all")
    assert {"law_tables", "plan", "costs", "figures_sweep"} <= set(jobs)
    assert not {"pretrain", "adopt", "adapt"} & set(jobs)


def test_status_counts_models_of_one_s_own(finished, snakemake):
    done = snakemake(finished, "status", *OWN)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads((finished / "results/own/status.json").read_text())
    rows = {(row["what"], row["ptpp"]): row for row in told["table"]}
    assert [rows["adoption", f"{ptpp}"]["done"] for ptpp in STAGES] == [1, 1, 2]
    assert [rows["adaptation", f"{ptpp}"]["done"] for ptpp in STAGES] == [1, 1, 2]
    assert not any(what == "pre-training" for what, _ in rows)


def test_another_checkpoint_is_taken_over_and_adapted_alone(finished, snakemake):
    config = yaml.safe_load((finished / "own.yaml").read_text())
    copy = finished / "models" / "another"
    shutil.copytree(finished / "models" / "llama-4", copy, dirs_exist_ok=True)
    config["models"]["sizes"][0]["checkpoints"][1]["model"] = "models/another"
    jobs = planned(finished, snakemake, LOSSES, {"models": config["models"]})
    assert (jobs["adopt"], jobs["adapt"]) == (1, 1)
    assert "tokens" not in jobs


def test_sizes_of_both_kinds_share_the_given_tokenizer(finished, snakemake):
    config = yaml.safe_load((finished / "own.yaml").read_text())
    ours = {"name": "w8", "width": 8, "depth": 1, "heads": 1, "batch_tokens": 256, "seeds": [0]}
    models = {"sizes": [*config["models"]["sizes"], ours]}
    jobs = planned(finished, snakemake, LOSSES, {"models": models})
    assert (jobs["pretrain"], jobs["adapt"]) == (3, 3)
    assert not {"adopt", "tokenizer", "tokens"} & set(jobs)


def test_without_a_held_out_stage_it_ends_with_the_measurements(finished, snakemake):
    change = {"held_out": {"ptpp": None}}
    jobs = planned(finished, snakemake, "all", change)
    assert set(jobs) == {"observations", "costs", "figures_sweep", "report"}
    table = "results/own/tables/costs.csv"
    done = snakemake(finished, table, *OWN, "change.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    assert set(pd.read_csv(finished / table).kind) == {"adoption", "adaptation", "all"}
    done = snakemake(finished, "--dry-run", "law_tables", *OWN, "change.yaml")
    assert done.returncode != 0
    assert "held_out.ptpp: null measures only" in done.stdout + done.stderr


def test_a_wrong_declaration_ends_before_any_text_is_tokenised(finished, snakemake):
    config = yaml.safe_load((finished / "own.yaml").read_text())
    config["models"]["sizes"][0]["n_params"] = LLAMA + 100
    (finished / "change.yaml").write_text(yaml.safe_dump({"models": config["models"]}))
    target = "results/fresh/tokens/fr.valid.bin"
    shutil.copytree(finished / "results/own/tokenizer", finished / "results/fresh/tokenizer")
    done = snakemake(finished, target, *OWN, "change.yaml", "--config", "scale=fresh")
    assert done.returncode != 0
    assert f"but models/llama-2 has {LLAMA} (models.count: total)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((finished / "results/fresh/tokens").glob("*"))
