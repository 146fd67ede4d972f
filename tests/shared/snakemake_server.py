"""Snakemake imported once: each run is a fork of this process, which saves seconds of imports.

The first line of standard output is the path of the `python` that runs its jobs' scripts; see
`forks`. Then one request per line of standard input, as JSON, and the exit status of each run as a
line of standard output. Nothing of ptpp is imported here: a run finds the package of the folder it
runs in.
"""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import snakemake.cli

sys.path.insert(0, str(Path(__file__).parent))
from forks import end_process, start, take_place


def run(folder: str, arguments: list[str], environment: dict, output: list[str], timeout: int):
    """Run `snakemake` in this process, which has just been forked, and end it."""
    signal.alarm(timeout)  # ends a run that hangs
    streams = [os.open(os.devnull, os.O_RDONLY)]
    streams += [os.open(path, os.O_WRONLY | os.O_CREAT) for path in output]
    take_place(folder, environment, streams)
    sys.path.insert(0, folder)
    sys.argv = ["snakemake", *arguments]
    with end_process():
        snakemake.cli.main()


def main() -> None:
    snakemake.cli.get_argument_parser()  # imports the plugins
    with tempfile.TemporaryDirectory() as place:
        python, server = start(Path(place))
        print(python, flush=True)
        try:
            for line in sys.stdin:
                child = os.fork()
                if not child:
                    sys.executable = str(python)
                    run(**json.loads(line))
                _, status = os.waitpid(child, 0)
                print(os.waitstatus_to_exitcode(status), flush=True)
        finally:
            os.kill(server, signal.SIGKILL)
            os.waitpid(server, 0)


if __name__ == "__main__":
    main()
