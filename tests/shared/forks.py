"""A `python` whose programs are forks of a process that has imported their libraries.

Importing torch, transformers and Snakemake takes longer than most jobs of a test. Within `serve`
there is such a process, and a program to use as `sys.executable`: it hands over the script of a
rule and the modules in `MODULES`, passes signals on, and gives anything else to Python, as well as
what has settings of Hugging Face's in its environment. The process imports nothing of ptpp, so that
a program finds the package of the folder it runs in. Two things are not as with Python: killing a
program's parent alone does not end it, and its processes are not children of each other.
"""

import contextlib
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

LIBRARIES = (
    *("pandas", "scipy.optimize", "scipy.special", "scipy.interpolate", "seaborn", "pydantic"),
    *("torch", "torch.distributed.run", "torch.distributed.fsdp", "tokenizers"),
    *("safetensors.torch", "transformers.models.gpt2.modeling_gpt2", "snakemake.cli"),
)
MODULES = ("snakemake", "torch.distributed.run", "ptpp.training.processes")
CLIENT = """#!{python} -IS
import array, json, os, signal, socket, sys

words = [word for word in sys.argv[1:] if word != "-u"]
script = len(words) == 1 and "/.snakemake/scripts/" in words[0]
module = words[:2] in [["-m", each] for each in {modules!r}]
settings = any(name.startswith("HF_") for name in os.environ)  # read when a library is imported
if settings or not (script or module):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
request = json.dumps([os.getcwd(), dict(os.environ), words, sys.argv[0]]).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    streams = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))]
    server.sendmsg([len(request).to_bytes(8, "big")], streams)
    server.sendall(request)
    pid = int.from_bytes(server.recv(8), "big")
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, lambda number, frame: os.kill(pid, number))
    status = server.recv(8)
status = int.from_bytes(status, "big", signed=True) if status else 1
if status < 0:
    signal.signal(-status, signal.SIG_DFL)
    os.kill(os.getpid(), -status)
sys.exit(status)
"""


@contextlib.contextmanager
def serve() -> Iterator[str]:
    """The program, while its process is there."""
    with tempfile.TemporaryDirectory() as folder:
        # -P: neither the folder of this file nor the present one is searched for modules.
        command = [sys.executable, "-P", __file__, folder]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            yield process.stdout.readline().decode().strip()
        finally:
            process.kill()
            process.wait()


def main(folder: Path) -> None:
    address, client = folder / "programs", folder / "python"
    text = CLIENT.format(python=sys.executable, address=str(address), modules=MODULES)
    client.write_text(text)
    client.chmod(0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        print(client, flush=True)
        _serve(listener)


@contextlib.contextmanager
def end_process():
    """End this process after the block as Python would, and nothing else of what it is in."""
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


def _serve(listener: socket.socket) -> None:
    """Start the program of each connection, until the process that started this one is gone."""
    parent, imported = os.getppid(), False
    listener.settimeout(10)
    while os.getppid() == parent:
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        if not imported:  # not before it is wanted: it takes seconds
            for name in LIBRARIES:
                importlib.import_module(name)
            sys.modules["snakemake.cli"].get_argument_parser()  # imports its plugins
            imported = True
        child = os.fork()
        if child:
            connection.close()
            os.waitpid(child, 0)
        elif os.fork():  # nobody waits for the process that waits for a program
            os._exit(0)
        else:
            listener.close()
            with end_process():
                _attend(connection)


def _attend(connection: socket.socket) -> None:
    """Run the program that a connection asks for, and answer with its number and its status."""
    length, streams, _, _ = socket.recv_fds(connection, 8, 3)
    request = b""
    while len(request) < int.from_bytes(length, "big"):
        part = connection.recv(1 << 20)
        if not part:  # whoever asks was killed
            return
        request += part
    program = os.fork()
    if not program:
        connection.close()
        _run(streams, *json.loads(request))
    for stream in (*streams, 0, 1, 2):
        os.close(stream)
    connection.sendall(program.to_bytes(8, "big"))
    ended, status = 0, 0
    while not ended:
        if select.select([connection], [], [], 0.02)[0]:  # whoever asked for it was killed
            os.kill(program, signal.SIGKILL)
        ended, status = os.waitpid(program, os.WNOHANG)
    with contextlib.suppress(OSError):
        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(8, "big", signed=True))


def _run(
    streams: list[int], folder: str, environment: dict, words: list[str], executable: str
) -> None:
    """Be the program, as Python would start it."""
    for stream, copy in enumerate(streams):
        os.dup2(copy, stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.executable = executable
    places = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    with end_process():
        if words[0] == "-m":
            sys.path[:0] = [folder, *places]
            sys.argv = words[1:]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.path[:0] = [str(Path(words[0]).parent), *places]
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
