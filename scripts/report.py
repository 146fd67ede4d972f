"""Write the report's page, and Snakemake's own report beside it.

`config["arguments"]` says how the results were made.
"""

import shlex
import subprocess
import sys
from pathlib import Path

from ptpp.jobs.job import log, run_job

with run_job(snakemake.log[0]):
    from ptpp.errors import InputError
    from ptpp.jobs.files import write_text
    from ptpp.report.page import Run, make_reachable, report_page, summary

    page, provenance = map(Path, (snakemake.output.page, snakemake.output.provenance))
    config, params = snakemake.config, snakemake.params

    draft = provenance.with_name(".provenance.html")
    command = [sys.executable, "-m", "snakemake", *params.targets, "--nolock", "--quiet"]
    snakefile = Path(snakemake.scriptdir).parent / "Snakefile"
    command += ["--snakefile", str(snakefile), "--report", str(draft)]
    command += shlex.split(config["arguments"])
    done = subprocess.run(command, capture_output=True, text=True)
    try:
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
            raise InputError(f"{provenance}: not written: {lines[-1]}")
        write_text(provenance, make_reachable(draft.read_text(encoding="utf-8")))
    finally:
        draft.unlink(missing_ok=True)

    command = f"snakemake --cores 2{config['arguments']}"
    is_applied = any(Path(path).parent.name == "applied" for path in params.targets)
    run = Run(config, params.law, command, params.laws, is_applied)
    report = report_page(page.parent, snakefile.parent / "report", run)
    write_text(page, report.html)
    for line in summary(report, str(page)):
        log.info("%s", line)
