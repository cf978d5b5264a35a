"""Hosts on one machine: network namespaces with a name and an address each, connected by virtual cables."""

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.slurm import wait_until

# Its own network for each test process, so that two of them do not meet.
NETWORK = "10.213"
NAMES = Path("/etc/netns")


def _do(command: str) -> str:
    return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout


@dataclass(frozen=True)
class Host:
    """A network namespace that behaves like a machine of this name and address."""

    name: str
    namespace: str
    address: str

    def command(self, *words: str) -> tuple[str, ...]:
        """Return the command that runs `words` on this host under its own host name."""
        naming = ("unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name)
        return ("ip", "netns", "exec", self.namespace, *naming, *words)

    def do(self, command: str) -> str:
        """Run a short command on this host as root and return its output."""
        return _do(f"ip netns exec {self.namespace} {command}")

    def is_connected(self) -> bool:
        """Return whether both ends of this host's cable are up."""
        return self.do("cat /sys/class/net/cable/operstate") == "up\n"

    def pull_cable(self) -> None:
        """Disconnect this host from the others."""
        self.do("ip link set cable down")

    def processes(self) -> list[int]:
        """Return the ids of the processes on this host."""
        return [int(number) for number in _do(f"ip netns pids {self.namespace}").split()]


def limit_here(megabits: float) -> None:
    """Limit the outgoing traffic of the host that this runs on to so many megabits per second."""
    _do(f"tc qdisc replace dev cable root tbf rate {megabits}mbit burst 64kb latency 200ms")


def _check() -> None:
    missing = [tool for tool in ("ip", "unshare", "tc") if not shutil.which(tool)]
    if os.geteuid() or missing:
        lacks = f"there is no {', '.join(missing)} (Debian: iproute2, util-linux)" if missing else "this is not root"
        raise RuntimeError(f"hosts on one machine are network namespaces, which need root, ip, tc and unshare: {lacks}")


def _cable(host: Host, far_end: str) -> None:
    """Connect a host to the far end, which is given as `NAMESPACE NAME`."""
    namespace, name = far_end.split()
    _do(f"ip link add cable netns {host.namespace} type veth peer name {name} netns {namespace}")


def _join(hosts: list[Host], switch: str) -> None:
    """Connect two hosts by one cable, or more hosts by a bridge."""
    if len(hosts) == 2:
        _cable(hosts[0], f"{hosts[1].namespace} cable")
    else:
        _do(f"ip netns add {switch}")
        _do(f"ip -n {switch} link add bridge type bridge")
        _do(f"ip -n {switch} link set bridge up")
        for host in hosts:
            _cable(host, f"{switch} {host.name}")
            _do(f"ip -n {switch} link set {host.name} master bridge up")
    for host in hosts:
        host.do(f"ip address add {host.address}/24 dev cable")
        host.do("ip link set cable up")
        host.do("ip link set lo up")
    for host in hosts:
        wait_until(host.is_connected, f"the kernel sees {host.name}'s cable")


@contextlib.contextmanager
def hosts(count: int) -> Iterator[list[Host]]:
    """Yield `count` hosts named hostA, hostB, … that reach each other; kill all their processes after the block.

    Raises RuntimeError where namespaces cannot be made.
    """
    _check()
    own = f"wgan{os.getpid()}"
    network = f"{NETWORK}.{os.getpid() % 256}"
    made = [Host(f"host{chr(65 + n)}", f"{own}-{chr(97 + n)}", f"{network}.{n + 1}") for n in range(count)]
    names = "".join(f"{host.address} {host.name}\n" for host in made)
    try:
        for host in made:
            _do(f"ip netns add {host.namespace}")
            folder = NAMES / host.namespace
            folder.mkdir(parents=True)
            (folder / "hosts").write_text(f"127.0.0.1 localhost\n{names}", encoding="utf-8")
        _join(made, f"{own}-switch")
        yield made
    finally:
        _remove([host.namespace for host in made], f"{own}-switch")


def _remove(namespaces: list[str], switch: str) -> None:
    there = _do("ip netns list").split()
    for namespace in [*namespaces, switch]:
        if namespace in there:
            for process in _do(f"ip netns pids {namespace}").split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(process), signal.SIGKILL)
            _do(f"ip netns delete {namespace}")
        shutil.rmtree(NAMES / namespace, ignore_errors=True)
