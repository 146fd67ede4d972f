"""Let Snakemake write its report of all results; `config["arguments"]` says how they were made."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.errors import InputError

    page = Path(snakemake.output[0])
    draft = page.with_name(f".{page.name}")
    command = [sys.executable, "-m", "snakemake", *snakemake.params.targets, "--nolock", "--quiet"]
    snakefile = Path(snakemake.scriptdir).parent / "Snakefile"
    command += ["--snakefile", str(snakefile), "--report", str(draft)]
    command += shlex.split(snakemake.config["arguments"])
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        draft.unlink(missing_ok=True)
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise InputError(f"{page}: not written: {lines[-1]}")
    os.replace(draft, page)
    log.info("report: %s", page)
