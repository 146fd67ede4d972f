"""Tiny random models and tokenizers as other people save them, to be adapted by the workflow."""

import json
from itertools import islice
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from ptpp.corpora.synthetic import generate

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
