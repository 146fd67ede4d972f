"""Peak memory of a training step's loss, in chunks and with all logits, as a Markdown table.

    python benchmarks/loss_memory.py [--tokens 4096] [--vocabulary 50304]

One process each on a CPU, of a GPT-2 of width 128: the growth of resident memory from the opened
model to the end of one step's gradients.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # a script finds only its own folder

import torch

from ptpp.models.huggingface import start_module
from ptpp.models.sizes import Shape

CONTEXT = 512


def peak() -> int:
    """The most memory this process had at once, bytes; getrusage begins with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def measure(in_chunks: bool, tokens: int, vocabulary: int) -> tuple[float, float]:
    """Growth of memory, bytes, and CPU seconds of a step's gradients."""
    backend = start_module(Shape(128, 2, 2, CONTEXT, vocabulary), seed=0)
    backend.losses.in_chunks = in_chunks
    backend.gradients(torch.zeros(1, 9, dtype=torch.int64))  # what stays: gradients, libraries
    blocks = torch.randint(vocabulary, (tokens // CONTEXT, CONTEXT + 1))
    before, began = peak(), time.process_time()
    backend.gradients(blocks)
    return peak() - before, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--vocabulary", type=int, default=50_304)
    parser.add_argument("--way", choices=("chunks", "all"), help="measure this one, here")
    chosen = parser.parse_args()
    sizes = (chosen.tokens, chosen.vocabulary)
    if chosen.way:
        torch.set_num_threads(1)
        print(*measure(chosen.way == "chunks", *sizes))
        return
    print("| logits | MB | bytes a token and entry | CPU s |\n|---|---:|---:|---:|")
    for way, name in (("all", "all at once"), ("chunks", "in chunks")):
        command = [sys.executable, __file__, "--way", way]
        command += ["--tokens", str(sizes[0]), "--vocabulary", str(sizes[1])]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        grown, seconds = map(float, printed.split())
        each = grown / (sizes[0] * sizes[1])
        print(f"| {name} | {grown / 1e6:.0f} | {each:.2f} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
