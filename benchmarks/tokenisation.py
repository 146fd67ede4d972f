"""Tokens a second of one core: our token stores beside `datasets.map`, as a Markdown table.

Before it: the memory that training the tokenizer took.

    python benchmarks/tokenisation.py corpora/en.train.jsonl.xz corpora/fr.train.jsonl.xz

Each way has a process of its own with one thread, and a tokenizer of its own, trained on the same
text first. Text is in memory before the clock starts; what is counted is CPU time, so that other
work on the machine disturbs less. Without files the text is the invented languages'. `--keep
resources/results/tokenisation` writes the rows, and where they were measured, to where the docs
are made from.
"""

import argparse
import csv
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # a script finds only its own folder
ONE_THREAD = {"TOKENIZERS_PARALLELISM": "false", "RAYON_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

import numpy as np

from ptpp.jobs.files import atomic_file, write_json
from ptpp.text.batches import Encoder
from ptpp.text.sources import documents
from ptpp.text.store import write_store
from ptpp.text.tokenised import read_ids
from ptpp.text.tokenizer import load_tokenizer, train_tokenizer, vocabulary_size

WAYS = {
    "store": "a token store of texts",
    "datasets": "`datasets.map`, batches of 1,000",
    "ids": "a token store of ids (`source: tokens`)",
}


def read_texts(files: list[str], megabytes: float) -> dict[str, list[str]]:
    """Equally many bytes of each file or language, by name."""
    specs = {name: {"source": "jsonl", "train": [name]} for name in files} or {
        name: {"source": "synthetic", "language": name, "seed": 0, "cognates": 0.4}
        for name in ("english", "french", "arabic")
    }
    share = 1e6 * megabytes / len(specs)
    return {name: list(_head(documents(spec, "train"), share)) for name, spec in specs.items()}


def _head(texts: Iterator[str], size: float) -> Iterator[str]:
    for text in texts:
        yield text
        size -= len(text.encode("utf-8"))
        if size <= 0:
            return


def measure(way: str, texts: list[str], tokenizer: Path, folder: Path) -> tuple[int, float]:
    """Tokens, and CPU seconds of all threads of this process."""
    ours, store = load_tokenizer(tokenizer), folder / "store.bin"
    if way == "datasets":
        import datasets
        from transformers import PreTrainedTokenizerFast

        datasets.disable_progress_bars()
        theirs = PreTrainedTokenizerFast(tokenizer_object=ours)
        rows = datasets.Dataset.from_dict({"text": texts})
        began = time.process_time()
        done = rows.map(
            lambda batch: theirs(
                batch["text"], add_special_tokens=False, return_attention_mask=False
            ),
            batched=True,
            remove_columns="text",
            cache_file_name=str(folder / "mapped.arrow"),
        )
        seconds = time.process_time() - began
        return sum(len(row) for row in done.with_format("numpy")["input_ids"]), seconds
    if way == "ids":
        np.save(folder / "ids.npy", Encoder(ours).encode(texts).ids)
        texts = read_ids(folder / "ids.npy", {"vocab_size": vocabulary_size(ours), "separator": 0})
    began = time.process_time()
    info = write_store(texts, ours, store, None, "benchmark")
    return info.tokens, time.process_time() - began


def name_machine() -> str:
    """The processor, and how busy it was."""
    name = platform.machine()
    if (info := Path("/proc/cpuinfo")).is_file():
        found = re.search(r"^model name\s*: (.*)", info.read_text(), re.MULTILINE)
        name = found[1] if found else name
    return f"{name}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.0f}"


def peak_memory() -> int:
    """The most memory this process had at once, bytes; getrusage begins with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def train(options: argparse.Namespace) -> tuple[int, int]:
    """Train the tokenizer; bytes of text, and by how many bytes the memory of a process grew."""
    texts = read_texts(options.files, options.train_megabytes or options.megabytes)
    size = min(sum(len(text.encode("utf-8")) for text in each) for each in texts.values())
    streams, before = {name: iter(each) for name, each in texts.items()}, peak_memory()
    train_tokenizer(streams, options.vocab_size, size, options.tokenizer)
    return size * len(texts), peak_memory() - before


def run_way(options: argparse.Namespace, way: str, tokenizer: Path) -> tuple[float, float]:
    """What a process of its own measures."""
    command = [sys.executable, __file__, *options.files, "--way", way]
    command += ["--megabytes", str(options.megabytes), "--vocab-size", str(options.vocab_size)]
    command += ["--train-megabytes", str(options.train_megabytes or options.megabytes)]
    command += ["--tokenizer", str(tokenizer)]
    environment = os.environ | ONE_THREAD
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
    first, second = map(float, done.stdout.split())
    return first, second


def run(options: argparse.Namespace) -> tuple[list[dict], dict]:
    """A row for every way, each the best of some repeats; and of training its text and memory."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = Path(folder) / "tokenizer"
        size, grown = run_way(options, "train", tokenizer)
        for way, name in WAYS.items():
            found = [run_way(options, way, tokenizer) for _ in range(options.repeats)]
            seconds, tokens = min((seconds, tokens) for tokens, seconds in found)
            rows.append({"way": name, "tokens": int(tokens), "cpu_seconds": round(seconds, 3)})
    training = {"text_bytes": int(size), "grown_bytes": int(grown)}
    return rows, training | {"languages": len(options.files) or 3, "machine": name_machine()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", help="JSON Lines, plain or compressed")
    parser.add_argument("--megabytes", type=float, default=12, help="of text in all")
    parser.add_argument("--train-megabytes", type=float, help="of the tokenizer; the same")
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--keep", type=Path, help="write the numbers to a file .csv and a .json")
    parser.add_argument("--way", choices=[*WAYS, "train"], help="measure this one, here")
    parser.add_argument("--tokenizer", type=Path, help="with --way: its directory")
    options = parser.parse_args()
    if options.way == "train":
        print(*train(options))
        return
    if options.way:
        texts = read_texts(options.files, options.megabytes).values()
        with tempfile.TemporaryDirectory() as folder:
            print(*measure(options.way, [*chain(*texts)], options.tokenizer, Path(folder)))
        return
    rows, training = run(options)
    print(
        f"training on {training['text_bytes'] / 1e6:.1f} MB of text took "
        f"{training['grown_bytes'] / 1e6:.0f} MB of memory, "
        f"{training['grown_bytes'] / training['text_bytes']:.0f} bytes a byte\n"
    )
    print("| one process, one thread | million tokens | CPU s | million tokens a CPU second |")
    print("|---|---:|---:|---:|")
    for row in rows:
        tokens, seconds = row["tokens"] / 1e6, row["cpu_seconds"]
        print(f"| {row['way']} | {tokens:.2f} | {seconds:.2f} | {tokens / seconds:.2f} |")
    print(f"\n{training['machine']}")
    if options.keep:
        write_json(options.keep.with_suffix(".json"), training)
        with atomic_file(options.keep.with_suffix(".csv")) as path, open(path, "w") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
