"""Tiny random models and tokenizers as other people save them, to be adapted by the workflow."""

import json
import shutil
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from ptpp.text.synthetic.documents import generate

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]


def save_llama_tokenizer(directory: Path, vocab_size: int = 600) -> Path:
    """A BPE of Llama's type: spaces as "▁", unknown characters as bytes, <s> before a text."""
    from transformers import PreTrainedTokenizerFast

    built = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    built.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<unk>", "<s>", "</s>", *BYTES],
        limit_alphabet=60,
        show_progress=False,
    )
    texts = (
        text for name in ("english", "french") for text in islice(generate(name, 0, "train"), 60)
    )
    built.train_from_iterator(texts, trainer)
    record = json.loads(built.to_str())
    # Bytes are pieces like others, not special tokens.
    record["added_tokens"] = [t for t in record["added_tokens"] if t["content"] not in BYTES]
    built = Tokenizer.from_str(json.dumps(record))
    assert built.get_vocab_size() == vocab_size
    built.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 1)]
    )
    parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    built.decoder = decoders.Sequence([*parts, decoders.Strip(" ", 1, 0)])
    PreTrainedTokenizerFast(
        tokenizer_object=built, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(directory)
    return directory


def save_llama(directory: Path, seed: int = 0, **changes) -> Path:
    """Grouped-query attention, an output layer of its own, a vocabulary larger than its tokens."""
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=640,
        hidden_size=16,
        intermediate_size=40,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=64,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
    )
    return _save(config, directory, seed, **changes)


def save_gpt2(directory: Path, seed: int = 0, **changes) -> Path:
    """Tied embeddings, learned positions, dropout switched on as GPT-2 was published."""
    from transformers import GPT2Config

    config = GPT2Config(
        vocab_size=600,
        n_embd=24,
        n_layer=1,
        n_head=2,
        n_positions=64,
        bos_token_id=1,
        eos_token_id=2,
    )
    return _save(config, directory, seed, **changes)


def _save(config, directory: Path, seed: int, tokenizer: Path | None = None, **how) -> Path:
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    AutoModelForCausalLM.from_config(config).save_pretrained(directory, **how)
    if tokenizer is not None:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(tokenizer / name, directory)
    return directory
