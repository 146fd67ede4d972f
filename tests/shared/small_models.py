"""Models that transformers holds, small enough to train in a test: ours and a Llama."""

import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from ptpp.models.backend import Placement
from ptpp.models.huggingface import Module, start_module
from ptpp.models.sizes import Shape

CONTEXT, ENTRIES = 12, 40
BLOCKS = torch.randint(0, ENTRIES, (5, CONTEXT + 1), generator=torch.Generator().manual_seed(0))


def gpt2(place: Placement, depth: int) -> Module:
    shape = Shape(width=16, depth=depth, heads=2, context=CONTEXT, vocab_size=ENTRIES)
    return start_module(shape, 3, place)


def llama(place: Placement, depth: int) -> Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": depth}
    config = LlamaConfig(**sizes, num_attention_heads=2, vocab_size=ENTRIES)
    return Module(AutoModelForCausalLM.from_config(config), CONTEXT, place)
