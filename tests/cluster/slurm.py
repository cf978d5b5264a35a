"""A real SLURM of two virtual nodes on this machine, run as root in its own folder from Debian's packages."""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.processes import HANG_SECONDS, REPOSITORY

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "setpriv")
NODES = ("n1", "n2")
CPUS, GPUS = 4, ("/dev/null", "/dev/zero")  # of each node, as SLURM counts: it believes what it is told
# Virtual nodes share an address and differ in their ports; a credential of six seconds lets a requeued job start again
# soon; a job is requeued only if it says that it may be.
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=6
CryptoType=crypto/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
SlurmdParameters=config_overrides
ReturnToService=2
JobRequeue=0
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
GresTypes=gpu
PartitionName=gpu Nodes=n1,n2 Default=YES State=UP
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Gres=gpu:{gpus}\n"


def free_ports(count: int) -> list[int]:
    """Return ports that no process listens on."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in sockets]


def wait_until(true: Callable[[], bool], what: str, seconds: float = HANG_SECONDS) -> None:
    """Wait until `true()` holds. Raises TimeoutError, naming `what`, after `seconds`."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {seconds} s still not: {what}")
        time.sleep(0.2)


@dataclass(frozen=True)
class Slurm:
    """A running cluster: its folder and its commands."""

    folder: Path

    def command(self, *words: str, cwd: Path = REPOSITORY) -> str:
        """Run a command of SLURM and return its output."""
        environment = os.environ | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PYTHONPATH": str(REPOSITORY)}
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, timeout=HANG_SECONDS)
        assert done.returncode == 0, f"{' '.join(words)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout.strip()

    def submit(self, *words: str) -> str:
        """Submit a job with options of sbatch, a script and its arguments; return the job's number."""
        return self.command("sbatch", "--parsable", *words)

    def job(self, number: str, field: str) -> str:
        """Return a field of `scontrol show job`, such as JobState or Restarts."""
        match = re.search(rf"\b{field}=(\S*)", self.command("scontrol", "show", "job", number))
        assert match, field
        return match[1]

    def wait_for(self, number: str, state: str) -> None:
        """Wait until the job has this state. Raises TimeoutError if it does not reach it."""
        wait_until(lambda: self.job(number, "JobState") == state, f"job {number} {state}")


def _write_configuration(folder: Path) -> None:
    host = socket.gethostname().split(".")[0]
    port, *node_ports = free_ports(1 + len(NODES))
    nodes = [
        NODE.format(name=name, host=host, port=node_port, cpus=CPUS, gpus=len(GPUS))
        for name, node_port in zip(NODES, node_ports, strict=True)
    ]
    text = CONFIGURATION.format(host=host, port=port, folder=folder)
    before, partition = text.split("PartitionName", 1)
    (folder / "slurm.conf").write_text(before + "".join(nodes) + "PartitionName" + partition)
    (folder / "gres.conf").write_text(f"NodeName={','.join(NODES)} Name=gpu File={','.join(GPUS)}\n")
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(os.urandom(1024))


@contextmanager
def _daemon(folder: Path, *command: str) -> Iterator[None]:
    """Run a program in the foreground until the context ends; it also ends with this process."""
    environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
    with (folder / "daemons.log").open("a") as log:
        words = ["setpriv", "--pdeathsig", "TERM", *command]
        process = subprocess.Popen(words, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _munge(folder: Path) -> tuple[str, ...]:
    files = {"socket": "munge.socket", "key-file": "munge.key", "log-file": "munged.log", "pid-file": "munged.pid"}
    paths = [f"--{option}={folder / name}" for option, name in (files | {"seed-file": "munged.seed"}).items()]
    return ("munged", "--foreground", "--force", *paths)


def _kill_what_knows(folder: Path) -> None:
    """Kill a job's processes: they are no children of the daemons, but their environment names the cluster's file."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"SLURM_CONF={folder}/slurm.conf".encode() in (process / "environ").read_bytes().split(b"\0"):
                os.kill(int(process.name), signal.SIGKILL)


@contextmanager
def slurm() -> Iterator[Slurm]:
    """Yield a cluster of two idle nodes and remove it after the block.

    Raises RuntimeError where SLURM is not installed or this is not root.
    """
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    if missing or os.geteuid():
        raise RuntimeError(f"needs root and Debian's packages slurm-wlm and munge; missing: {missing or 'root'}")
    with ExitStack() as stack:
        # Short: a socket's path has at most 107 characters.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        _write_configuration(folder)
        stack.callback(_kill_what_knows, folder)
        cluster = Slurm(folder)
        stack.enter_context(_daemon(folder, *_munge(folder)))
        wait_until((folder / "munge.socket").exists, "munged listens")
        stack.enter_context(_daemon(folder, "slurmctld", "-D"))
        for name in NODES:
            stack.enter_context(_daemon(folder, "slurmd", "-D", "-N", name))
        idle = len(NODES)
        wait_until(lambda: _idle(cluster) == idle, f"{idle} nodes idle", 60)
        try:
            yield cluster
        finally:
            wait_until(lambda: _nothing_left(cluster), "no job left")


def _nothing_left(cluster: Slurm) -> bool:
    cluster.command("scancel", "--user=root")  # again and again: a job may have queued itself anew
    return not cluster.command("squeue", "--noheader")


def _idle(cluster: Slurm) -> int:
    try:
        return cluster.command("sinfo", "--noheader", "--Node", "--format=%T").split().count("idle")
    except AssertionError:  # the controller does not answer yet
        return 0
