"""Finished work that outlives its outputs: kept by hard links, under the digest of what made it.

Snakemake deletes the outputs of a job whose end it did not see, as when it was killed and the job
went on. A stage of pre-training is too dear for that: its files stay linked here, cost no room
while the outputs exist, and are put back instead of trained again. One set is kept per job.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from ptpp.errors import InputError
from ptpp.jobs.files import atomic_directory, atomic_file, link, read_json, sha256, write_json

log = logging.getLogger("ptpp")

RECORD = "kept.json"


def keep(folder: str | Path, digest: str, outputs: Mapping[str, str | Path]) -> None:
    """Link `outputs` (name -> file or directory) into `folder`, replacing what it held."""
    with atomic_directory(folder) as temporary:
        sums = {}
        for name, path in outputs.items():
            path = Path(path)
            for file in sorted(path.iterdir()) if path.is_dir() else [path]:
                to = temporary / name / file.relative_to(path)
                to.parent.mkdir(parents=True, exist_ok=True)
                link(file, to)
                sums[str(to.relative_to(temporary))] = sha256(file)
        write_json(temporary / RECORD, {"digest": digest, "files": sums})


def restore(folder: str | Path, digest: str, outputs: Mapping[str, str | Path]) -> bool:
    """Put `outputs` back from `folder`; False when it does not hold them whole for `digest`."""
    folder = Path(folder)
    if not (folder / RECORD).exists():
        return False
    try:
        record = read_json(folder / RECORD)
        if record["digest"] != digest:
            return False
        if any(sha256(folder / name) != found for name, found in record["files"].items()):
            raise InputError(f"{folder}: not what was kept there")
    except (InputError, OSError, KeyError, TypeError, AttributeError) as error:
        log.warning("%s: damaged (%s); trained again", folder, error)
        return False
    for name, path in outputs.items():
        if (folder / name).is_dir():
            with atomic_directory(path) as temporary:
                for file in (folder / name).iterdir():
                    link(file, temporary / file.name)
        else:
            with atomic_file(path) as temporary:
                temporary.unlink()
                link(folder / name, temporary)
    return True
