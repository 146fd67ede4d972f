"""The model card of an adapted checkpoint: what it was made from, and how good it is."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Origin:
    """What an adapted model was made from.

    base: the checkpoint, digest: of its weights. target, mix: the domain adapted to, and the share
    of each replayed domain in the replayed tokens. tokens: of the adaptation, replay included.
    learning_rate: its peak, which hidden matrices have at `base_width` (None: at any).
    """

    base: str
    digest: str
    target: str
    mix: Mapping[str, float]
    law: str
    kind: str
    n_params: int
    ptpp: float
    replay: float
    atpp: float
    tokens: int
    learning_rate: float
    base_width: int | None
    seed: int


def model_card(origin: Origin, losses: Sequence[Mapping[str, object]]) -> str:
    """README.md of the folder.

    losses: per domain, `domain`, `before`, `measured`, `predicted`, `lower`, `upper` (nats per
    token; NaN where nothing was predicted).
    """
    mix = ", ".join(f"{name} {100 * share:.3g} %" for name, share in origin.mix.items())
    width = "" if origin.base_width is None else f" at width {origin.base_width}"
    facts = {
        "adapted from": f"`{origin.base}`, at {origin.ptpp:g} pre-training tokens per parameter",
        "its weights, SHA-256": f"`{origin.digest}`",
        "parameters": f"{origin.n_params:,}",
        "adapted to": origin.target,
        "replay": f"{100 * origin.replay:.4g} % of the tokens: {mix}",
        "tokens": f"{origin.tokens:,}, {origin.atpp:.4g} per parameter (ATPP)",
        "peak learning rate": f"{origin.learning_rate:g}{width} (AdamW)",
        "seed": f"{origin.seed}",
        "plan": f"{origin.kind}, by the law {origin.law}",
    }
    rows = [
        (
            each["domain"],
            *(_nats(each[name]) for name in ("before", "measured", "predicted")),
            f"{_nats(each['lower'])} to {_nats(each['upper'])}",
        )
        for each in losses
    ]
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\n"
        "tags: [continual-pretraining, ptpp]\n---",
        f"# {origin.target}, {origin.n_params:,} parameters",
        "Made by `ptpp`: a checkpoint adapted at the replay ratio and budget of a compute plan.",
        _table(["", ""], [[f"**{name}**", value] for name, value in facts.items()]),
        "Held-out loss, nats per token: before adaptation, after it, and as a law fitted to other "
        "runs predicted it, with the 90 % interval of one measurement.",
        _table(["domain", "before", "measured", "predicted", "90 % interval"], rows),
        "    from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        '    model = AutoModelForCausalLM.from_pretrained("this folder")\n'
        '    tokenizer = AutoTokenizer.from_pretrained("this folder")',
    ]
    return "\n\n".join(parts) + "\n"


def _nats(value: object) -> str:
    number = float(value)
    return "\N{EN DASH}" if number != number else f"{number:.4f}"


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)
