"""Types of model from elsewhere: a tiny one of each is opened, measured and trained on."""

import re
from pathlib import Path

import pytest
import torch
from transformers import CONFIG_MAPPING, AutoModelForCausalLM

from ptpp.errors import InputError
from ptpp.models.backend import open_model
from ptpp.models.losses import SequenceLosses, has_plain_head, is_causal
from ptpp.training.adoption import count_parameters
from ptpp.training.schedule import Settings

pytestmark = pytest.mark.usefixtures("one_thread")
COMMON = {
    "vocab_size": 96,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    **{"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2},
}
EXPERTS = {
    **{"num_experts": 4, "num_local_experts": 4, "num_experts_per_tok": 2},
    **{"moe_intermediate_size": 16, "shared_expert_intermediate_size": 16},
}
PLAIN = (
    *("llama", "mistral", "ministral", "qwen2", "qwen3", "smollm3", "gemma", "gemma2"),
    *("gemma3_text", "phi", "phi3", "gpt2", "gpt_neox", "gpt_bigcode", "bloom", "mpt", "olmo"),
    *("olmo2", "olmo3", "starcoder2", "stablelm", "cohere", "cohere2", "glm", "glm4"),
    *("nemotron", "ernie4_5", "exaone4", "seed_oss", "helium", "apertus", "mamba"),
)
# By type: what it needs besides COMMON; None takes a key of it out.
TYPES = {
    **{kind: {} for kind in PLAIN},
    **{k: EXPERTS for k in ("mixtral", "qwen2_moe", "qwen3_moe", "olmoe", "granitemoe")},
    "granite": {"logits_scaling": 8.0},
    "gptj": {"rotary_dim": 8},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]]},
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 16},
    "falcon": {"head_dim": None},
}
# Their logits are not the output layer's alone.
CAPPED, SCALED = {"gemma2"}, {"cohere", "cohere2", "granite"}
ENCODERS = ("bert", "roberta", "electra", "camembert")
SETTINGS = Settings(learning_rate=0.01, base_width=8, batch=4, warmup=0, decay_fraction=0.2)


def build(kind):
    chosen = COMMON | TYPES.get(kind, {})
    config = CONFIG_MAPPING[kind](**{key: v for key, v in chosen.items() if v is not None})
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config).eval()


def blocks(sequences=4):
    return torch.randint(3, 96, (sequences, 17), generator=torch.Generator().manual_seed(1))


def gradients(backend):
    loss = backend.gradients(blocks())
    found = {
        name: torch.zeros_like(each) if each.grad is None else each.grad.clone()
        for name, each in backend.parameters.items()
    }
    return loss.item(), found


@pytest.mark.parametrize("kind", TYPES)
def test_losses_in_chunks_are_those_of_all_logits_and_training_lowers_them(
    kind, tmp_path, monkeypatch
):
    model = build(kind)
    model.save_pretrained(tmp_path)
    expected = sum(each.numel() for each in model.parameters())
    assert count_parameters(tmp_path, 16)[0].n_params == expected

    monkeypatch.setattr("ptpp.models.losses.LOGITS", {"cpu": 96 * 5})  # 5 tokens of 64 at a time
    backend = open_model(tmp_path, None, 16)
    plain = kind not in CAPPED | SCALED
    assert backend.losses.in_chunks == plain
    chunked = backend.loss(blocks()), *gradients(backend)
    with torch.no_grad():
        output = model(blocks()[:, :-1], labels=None).logits.flatten(0, 1)
    direct = torch.nn.functional.cross_entropy(output, blocks()[:, 1:].flatten()).item()
    assert chunked[:2] == pytest.approx((direct, direct), rel=1e-5)
    if plain:
        backend.losses = SequenceLosses(backend.module, in_chunks=False)
        assert chunked[0] == pytest.approx(backend.loss(blocks()), rel=1e-6)
        loss, whole = gradients(backend)
        assert chunked[1] == pytest.approx(loss, rel=1e-6)
        torch.testing.assert_close(chunked[2], whole, rtol=1e-3, atol=1e-6)
    backend.step(SETTINGS, 1.0)
    assert backend.loss(blocks()) < direct


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_model_that_sees_later_tokens_is_refused(kind, tmp_path):
    model = build(kind)
    assert not is_causal(model)
    if kind == ENCODERS[0]:
        model.save_pretrained(tmp_path)
        with pytest.raises(InputError, match=r"BertLMHeadModel sees later tokens .* next token"):
            open_model(tmp_path, None, 16)


def test_an_output_layer_that_transformers_does_not_name_is_left_to_the_model(monkeypatch):
    model = build("llama")
    assert has_plain_head(model)
    monkeypatch.setattr(type(model), "get_output_embeddings", lambda self: None)
    assert not has_plain_head(model)


def test_the_documentation_lists_the_types_that_are_tested():
    page = (Path(__file__).parents[2] / "docs" / "own-models.md").read_text()
    listed = re.search(r"types\s+of\s+model\s+are\s+tested:\s+(.*?)\.\n", page, re.DOTALL).group(1)
    assert re.findall(r"`(\S+)`", listed) == sorted(TYPES)
