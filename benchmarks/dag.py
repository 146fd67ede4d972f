"""How long Snakemake takes to plan: a large sweep from nothing, and a run with nothing to do.

    python benchmarks/dag.py                    # 2,100 trajectories, a job each
    python benchmarks/dag.py --rerun smoke      # besides: a finished scale, run again

Prints jobs, seconds and processor seconds; the seconds mean little on a busy machine.
"""

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

WIDTHS, SEEDS = (16, 32, 48, 64, 80), 20
REPLAYS = [0, 0.05, 0.1, 0.25, 0.5, 0.75]  # and the control; at three PTPP stages


def large_sweep() -> dict:
    sizes = [
        {
            "name": f"w{width}",
            "width": width,
            "depth": 2,
            "heads": width // 16,
            "batch_tokens": 512,
            "seeds": list(range(SEEDS)),
        }
        for width in WIDTHS
    ]
    return {
        "scale": "large",
        "replays_per_job": 1,
        "models": {"sizes": sizes},
        "adaptation": {"replay": REPLAYS},
    }


def measured(*arguments: str) -> tuple[str, float, float]:
    """Output, seconds and processor seconds of one dry run."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-m", "snakemake", "--dry-run", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return done.stdout + done.stderr, seconds, cpu


def report(name: str, said: str, seconds: float, cpu: float) -> None:
    found = re.search(r"^total +(\d+)$", said, re.MULTILINE)
    jobs = found.group(1) if found else "0"
    print(f"{name:24} {jobs:>6} jobs {seconds:6.1f} s {cpu:6.1f} s of processor")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time Snakemake's planning.")
    parser.add_argument("--rerun", help="a finished scale: laptop, or a file of scales/")
    rerun = parser.parse_args().rerun
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.yaml"
        path.write_text(yaml.safe_dump(large_sweep()))
        report("large sweep, from nothing", *measured("--configfile", str(path)))
    if rerun:
        overlay = [] if rerun == "laptop" else ["--configfile", f"scales/{rerun}.yaml"]
        report(f"{rerun}, again", *measured(*overlay))


if __name__ == "__main__":
    main()
