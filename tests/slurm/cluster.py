"""A real SLURM on this one machine: munged, slurmctld and a slurmd for each virtual node.

No systemd, containers or cgroups; everything is under one folder and ends with the `with` block.
Needs Debian's `slurm-wlm` and `munge`. To run a command in such a cluster:

    python tests/slurm/cluster.py snakemake --workflow-profile profiles/slurm ...
"""

import argparse
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

NEEDED = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scancel")
PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])

# Nodes may claim more than the machine has. Processes are followed by their parents, since cgroups
# are not ours to make. Jobs start at once, and squeue tells of ended ones for an hour.
CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/sock
CommunicationParameters={loopback}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
MailProg=/bin/true
MpiDefault=none
SwitchType=switch/none
PropagateResourceLimits=NONE
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SlurmdParameters=config_overrides
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,bf_interval=5
KillWait=30
MinJobAge=3600
ReturnToService=2
AccountingStorageType=accounting_storage/none
PartitionName=DEFAULT DefMemPerCPU=200 DefaultTime=10 MaxTime=1000 LLN=YES
{nodes}
PartitionName=cpu Nodes={names} Default=YES
PartitionName=gpu Nodes={names}
"""


def missing() -> list[str]:
    """The programs that a cluster needs and this machine lacks."""
    return [name for name in NEEDED if not shutil.which(name, path=PATH)]


@contextmanager
def cluster(folder: Path, nodes: int = 2, cpus: int = 2, gpus: int = 2) -> Iterator[dict]:
    """Run a cluster; yields the environment in which its commands find it.

    Each node claims `cpus` processors, 8 GB of memory and `gpus` GPUs, which are no devices but
    are counted and handed out like them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)  # munged wants to be reachable
    for name in ("bin", "dev", "log", "munge", "state"):
        (folder / name).mkdir()
    names = [f"n{k}" for k in range(1, nodes + 1)]
    configure(folder, names, cpus, gpus)
    environment = os.environ | {
        "SLURM_CONF": str(folder / "slurm.conf"),
        "PATH": os.pathsep.join([str(folder / "bin"), PATH]),
    }

    def succeeds(*command: str, said: str = "") -> bool:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        return done.returncode == 0 and said in done.stdout

    with ExitStack() as stack:

        def daemon(name: str, *command: str) -> subprocess.Popen:
            output = stack.enter_context(open(folder / "log" / f"{name}.out", "wb"))
            process = subprocess.Popen(  # which ends with us even if we are killed
                ["setpriv", "--pdeathsig", "TERM", *command],
                env=environment,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            stack.callback(end, process)
            return process

        place = folder / "munge"
        files = [f"--{what}-file={place / what}" for what in ("key", "pid", "log", "seed")]
        munged = daemon(
            "munged", "munged", "--foreground", "--force", f"--socket={place}/sock", *files
        )
        wait_for(lambda: succeeds("munge", "-S", f"{place}/sock", "-n"), munged, folder)
        control = daemon("slurmctld", "slurmctld", "-D")
        wait_for(lambda: succeeds("scontrol", "ping", said="is UP"), control, folder)
        workers = [daemon(f"slurmd-{name}", "slurmd", "-D", "-N", name) for name in names]
        # Ended before its daemons are: else a job would outlive them.
        stack.callback(cancel_everything, environment)
        for name, worker in zip(names, workers, strict=True):
            state = ("sinfo", "-h", "-N", "-p", "cpu", "-n", name, "-o", "%t")
            wait_for(lambda state=state: succeeds(*state, said="idle"), worker, folder)
        yield environment


def configure(folder: Path, names: list[str], cpus: int, gpus: int) -> None:
    host = socket.gethostname().split(".")[0]
    try:
        known_as_loopback = socket.gethostbyname(host).startswith("127.0.0.1")
    except OSError:
        known_as_loopback = False
    port = free_ports(1 + len(names))
    nodes = [
        f"NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port + k} "
        f"CPUs={cpus} RealMemory=8000 Gres=gpu:{gpus}"
        for k, name in enumerate(names, start=1)
    ]
    text = CONF.format(
        host=host,
        port=port,
        user=getpass.getuser(),
        folder=folder,
        # Daemons listen where the machine's name resolves to: of use only if that is 127.0.0.1.
        loopback="NoCtldInAddrAny,NoInAddrAny" if known_as_loopback else "",
        nodes="\n".join(nodes),
        names=",".join(names),
    )
    (folder / "slurm.conf").write_text(text)
    # A GPU must be a character device; links to /dev/null are, and get CUDA_VISIBLE_DEVICES set.
    lines = ["AutoDetect=off"]
    for k in range(gpus):
        (folder / "dev" / f"nvidia{k}").symlink_to("/dev/null")
        lines += [f"NodeName={name} Name=gpu File={folder}/dev/nvidia{k}" for name in names]
    (folder / "gres.conf").write_text("\n".join(lines) + "\n")
    (folder / "munge" / "key").write_bytes(os.urandom(1024))
    (folder / "munge" / "key").chmod(0o400)
    # Snakemake's executor drops SLURM_CONF around the srun inside a job. A cluster has its
    # configuration in /etc/slurm; here this wrapper, found first, puts the variable back.
    wrapper = folder / "bin" / "srun"
    real = shutil.which("srun", path=PATH)
    wrapper.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {real} "$@"\n')
    wrapper.chmod(0o755)
    # Jobs find a counterfeit nvidia-smi too, which shows them what SLURM gave them and no more.
    smi = folder / "bin" / "nvidia-smi"
    smi.write_text(
        "#!/bin/sh\n"
        'for k in $(echo "$CUDA_VISIBLE_DEVICES" | tr , " "); do\n'
        f'    echo "GPU $k: Counterfeit (UUID: GPU-$SLURMD_NODENAME-$k-{os.getpid()})"\n'
        "done\n"
    )
    smi.chmod(0o755)


def free_ports(count: int) -> int:
    """The first of `count` free ports in a row."""
    for first in range(17_000, 19_000, 100):
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
            return first
        except OSError:
            continue
    raise RuntimeError("no free ports between 17000 and 19000")


def wait_for(done: Callable[[], bool], process: subprocess.Popen, folder: Path) -> None:
    deadline = time.monotonic() + 180
    while time.monotonic() < deadline and process.poll() is None:
        if done():
            return
        time.sleep(0.1)
    said = "".join(path.read_text()[-1000:] for path in sorted((folder / "log").iterdir()))
    raise RuntimeError(f"{process.args[3]} did not come up:\n{said}")


def cancel_everything(environment: dict) -> None:
    running = ("squeue", "-h", "-t", "PD,R,S,CG,CF", "-o", "%A")
    for attempt in range(100):
        ids = subprocess.run(
            running, env=environment, capture_output=True, text=True
        ).stdout.split()
        if not ids:
            return
        if attempt % 20 == 0:
            harder = ["--signal=KILL"] if attempt >= 40 else []
            subprocess.run(["scancel", "--quiet", *harder, *ids], env=environment, check=False)
        time.sleep(0.1)


def end(process: subprocess.Popen) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description="Run a command in a SLURM made for it.")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--cpus", type=int, default=2, help="processors each node claims")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    if missing():
        parser.exit(1, f"error: not installed: {', '.join(missing())} (slurm-wlm, munge)\n")
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # cleans up
    with (
        tempfile.TemporaryDirectory(prefix="slurm-") as folder,
        cluster(Path(folder), arguments.nodes, arguments.cpus) as environment,
    ):
        return subprocess.run(arguments.command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
