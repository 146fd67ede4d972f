"""Libraries imported once: each run of Snakemake, and each script that it runs, is a fork.

One request per line of standard input, as JSON; the exit status of each run is a line of standard
output. Nothing of ptpp is imported here: a run finds the package of the folder it runs in.

In a run `sys.executable` is a program that hands a job's script to a second process, which has
imported what most scripts import, and forks for it. Anything else it gives to Python. A run that
sends signals to its jobs must not come here: they are no children of their Snakemake.
"""

import contextlib
import importlib
import json
import os
import runpy
import signal
import socket
import stat
import sys
import tempfile
import traceback
from pathlib import Path

import snakemake.cli

LIBRARIES = (
    *("pandas", "scipy.optimize", "scipy.special", "scipy.interpolate", "seaborn", "pydantic"),
    *("torch", "tokenizers", "safetensors.torch", "transformers.models.gpt2.modeling_gpt2"),
)
CLIENT = '''#!{python} -IS
"""Has a script run by a fork of a process that is there already."""
import array, json, os, socket, sys

if len(sys.argv) != 2 or "/scripts/" not in sys.argv[1]:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
request = json.dumps([os.getcwd(), dict(os.environ), sys.argv[1]]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    streams = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
    server.sendmsg([len(request).to_bytes(8, "big")], streams)
    server.sendall(request)
    status = server.recv(1)
sys.exit(status[0] if status else 1)
'''


def run(folder: str, arguments: list[str], environment: dict, output: list[str], timeout: int):
    """Run `snakemake` in this process, which has just been forked, and end it."""
    signal.alarm(timeout)  # ends a run that hangs
    take_place(folder, environment)
    sys.path.insert(0, folder)
    for stream, path in enumerate(output, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = ["snakemake", *arguments]
    with end_process():
        snakemake.cli.main()


def take_place(folder: str, environment: dict) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)


@contextlib.contextmanager
def end_process():
    """End this process as Python would end after the block, and nothing else of what it is in."""
    status = 0
    try:
        yield
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


def serve_scripts(listener: socket.socket) -> None:
    """Answer each connection with the exit status of its script."""
    parent, started = os.getppid(), False
    listener.settimeout(10)
    for stream in (0, 1):  # those are for requests
        os.dup2(os.open(os.devnull, os.O_RDWR), stream)
    while os.getppid() == parent:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        if not started:  # not before they are wanted: it takes seconds
            for name in LIBRARIES:
                importlib.import_module(name)
            started = True
        if child := os.fork():
            connection.close()
            os.waitpid(child, 0)
            continue
        if os.fork():  # whoever waits for a script is nobody's to wait for
            os._exit(0)
        with connection:
            length, streams, _, _ = socket.recv_fds(connection, 8, 3)
            request = b""
            while len(request) < int.from_bytes(length, "big"):
                request += connection.recv(1 << 20)
            script = os.fork()
            if not script:
                listener.close()
                run_script(streams, *json.loads(request))
            _, status = os.waitpid(script, 0)
            connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
        os._exit(0)


def run_script(streams: list[int], folder: str, environment: dict, path: str) -> None:
    """Run a script in this process as Python would, and end it."""
    for stream, copy in enumerate(streams):
        os.dup2(copy, stream)
    take_place(folder, environment)
    places = environment.get("PYTHONPATH", "")
    sys.path[:0] = [str(Path(path).parent), *filter(None, places.split(os.pathsep))]
    sys.argv = [path]
    with end_process():
        runpy.run_path(path, run_name="__main__")


def main() -> None:
    snakemake.cli.get_argument_parser()  # imports the plugins
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place}/scripts")
        listener.listen(64)
        scripts = os.fork()
        if not scripts:
            serve_scripts(listener)
        client = Path(place) / "python"
        client.write_text(CLIENT.format(python=sys.executable, address=f"{place}/scripts"))
        client.chmod(stat.S_IRWXU)
        try:
            for line in sys.stdin:
                child = os.fork()
                if not child:
                    sys.executable = str(client)
                    run(**json.loads(line))
                _, status = os.waitpid(child, 0)
                print(os.waitstatus_to_exitcode(status), flush=True)
        finally:
            os.kill(scripts, signal.SIGKILL)
            os.waitpid(scripts, 0)


if __name__ == "__main__":
    main()
