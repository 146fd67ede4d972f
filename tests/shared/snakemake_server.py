"""Snakemake imported once: each run is a fork of this process, which saves seconds of imports.

One request per line of standard input, as JSON; the exit status of each run is a line of standard
output. Nothing of ptpp is imported here: a run finds the package of the folder it runs in.
"""

import json
import os
import signal
import sys

import snakemake.cli


def run(folder: str, arguments: list[str], environment: dict, output: list[str], timeout: int):
    """Run `snakemake` in this process, which has just been forked."""
    signal.alarm(timeout)  # ends a run that hangs
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path.insert(0, folder)
    for stream, path in enumerate(output, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["snakemake", *arguments]
    snakemake.cli.main()


def main() -> None:
    snakemake.cli.get_argument_parser()  # imports the plugins
    for line in sys.stdin:
        child = os.fork()
        if not child:
            run(**json.loads(line))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
