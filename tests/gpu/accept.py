"""Acceptance on a GPU: each path of ptpp that only a GPU shows, once, a line of JSON per check.

    python tests/gpu/accept.py                          all sections, on a GPU
    python tests/gpu/accept.py numerics sync            some of them
    python tests/gpu/accept.py --device cpu --small     dry run

A table in Markdown comes last, for docs/gpus.md. Exit status 1 when a check fails. No network, no
Snakemake; nothing is written but to standard output and temporary folders.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "shared")]

import group_checks
import job_checks
import model_checks
from checking import Setup, check

Section = Callable[[Setup], Iterator[dict]]
SECTIONS: dict[str, Section] = {
    "env": job_checks.env,
    "place": job_checks.place,
    "numerics": model_checks.numerics,
    "sync": model_checks.sync,
    "memory": model_checks.memory,
    "speed": model_checks.speed,
    "stacks": model_checks.stacks,
    "jobs": job_checks.jobs,
    "own": model_checks.own,
    "fsdp": group_checks.fsdp,
    "fake": group_checks.fake,
    "oom": model_checks.oom,
}
COLUMNS = ("tokens_per_s", "mfu", "peak_gb", "counted_gb")


def run_sections(sections: Mapping[str, Section], setup: Setup) -> Iterator[dict]:
    """All checks of `sections`; what a section raises is a failed check, and ends that section."""
    for name, section in sections.items():
        began = time.monotonic()
        try:
            for record in section(setup):
                yield {"section": name, **record}
        except Exception:
            yield {"section": name, **check(name, False, error=traceback.format_exc())}
        print(f"# {name}: {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)


def summarise(records: Sequence[Mapping]) -> str:
    """A table in Markdown of what was measured, and a line that says on what."""
    facts = next((each for each in records if each["section"] == "env"), {})
    named = ("card", "driver", "torch")
    where = ", ".join(f"{name} {facts[name]}" for name in named if facts.get(name))
    passed = sum(each["ok"] for each in records)
    lines = [f"{passed} of {len(records)} checks passed: {where or 'machine not asked'}.", ""]
    lines += ["| check | tokens/s | MFU | peak memory, GB | counted by `cost`, GB |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for record in records:
        if any(record.get(name) is not None for name in COLUMNS):
            cells = [_cell(record.get(name)) for name in COLUMNS]
            lines.append(f"| {record['check']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


def main(arguments: Sequence[str] | None = None, known: Mapping[str, Section] = SECTIONS) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sections", nargs="*", metavar="section", help=", ".join(known))
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--small", action="store_true", help="tiny shapes, few steps")
    options = parser.parse_args(arguments)
    if unknown := set(options.sections) - set(known):
        parser.error(f"unknown section {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    chosen = {name: known[name] for name in options.sections or known}
    records = []
    for record in run_sections(chosen, Setup(options.device, options.small)):
        print(json.dumps(record, default=str), flush=True)
        records.append(record)
    print("\n" + summarise(records))
    return 0 if all(record["ok"] for record in records) else 1


if __name__ == "__main__":
    sys.exit(main())
