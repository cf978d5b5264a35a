"""launch/interface.sh lets gloo use the network interface that NCCL's variable chooses."""

import fcntl
import os
import shlex
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.namespaces import NAMES, Host, hosts
from tests.faults.tiny import SETTINGS
from tests.processes import REPOSITORY
from tests.repository.test_multi_node import launched

SCRIPT = REPOSITORY / "launch/interface.sh"
VARIABLES = ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME", "SLURM_LOCALID")


def source(then: str, *before: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Source the script in a strict shell, behind the command `before`, and run `then` in the same shell."""
    inherited = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    command = [*before, "bash", "-euo", "pipefail", "-c", f". {shlex.quote(str(SCRIPT))}; {then}"]
    return subprocess.run(command, env=inherited | variables, capture_output=True, text=True)


# The rules of NCCL's documentation for NCCL_SOCKET_IFNAME.
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("eth", "eth0"),
        ("eth1", "eth1"),
        ("eth1,eth0", "eth0"),  # the first interface that matches, not the first name
        ("ib,eth", "eth0"),
        ("eno,ib", "ib0"),
        ("=eth10", "eth10"),
        ("=eth", None),
        ("=ib0,eth1", "eth1"),
        ("^docker,lo", "eth0"),
        ("^docker,lo,eth", "ib0"),
        ("^=eth0,docker0", "eth1"),
        ("^=eth", "docker0"),
        ("^eth,ib,docker", None),  # loopback is no interface of a network
        ("lo", "lo"),
        ("=eth1:29600", "eth1"),
        ("ib,,eno", "ib0"),
        ("wlan", None),
    ],
)
def test_the_first_interface_that_nccls_pattern_allows(pattern: str, expected: str | None) -> None:
    done = source(f"first_interface '{pattern}' lo docker0 eth0 eth1 eth10 ib0")
    assert (done.returncode, done.stdout) == ((0, f"{expected}\n") if expected else (1, ""))


# Requests to the kernel, and flags, of <linux/sockios.h> and <linux/if.h>.
SIOCGIFFLAGS, SIOCGIFADDR = 0x8913, 0x8915
IFF_UP, IFF_RUNNING = 0x1, 0x40


def ask_kernel(request: int, interface: str) -> bytes | None:
    """Return the kernel's answer about an interface, behind its name, or None if there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            return fcntl.ioctl(any_socket, request, struct.pack("16s24x", interface.encode()))[16:]
        except OSError:
            return None


def test_interfaces_with_an_address_come_first_in_the_kernels_order() -> None:
    flags = {name: ask_kernel(SIOCGIFFLAGS, name) or b"\0\0" for _, name in socket.if_nameindex()}
    running = IFF_UP | IFF_RUNNING
    up = [name for name in flags if struct.unpack("H", flags[name][:2])[0] & running == running]
    listed = source("list_interfaces").stdout.splitlines()
    assert sorted(listed) == sorted(up)
    assert [name for name in listed if ask_kernel(SIOCGIFADDR, name)] == [
        name for name in up if ask_kernel(SIOCGIFADDR, name)
    ]


def test_gloo_is_given_an_exact_name_and_the_user_is_told() -> None:
    done = source("env", NCCL_SOCKET_IFNAME="=lo")
    assert "GLOO_SOCKET_IFNAME=lo\n" in done.stdout
    assert done.stderr.startswith("note: NCCL_SOCKET_IFNAME==lo: gloo uses lo on ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("variables", [{}, {"NCCL_SOCKET_IFNAME": ""}])
def test_without_a_choice_for_nccl_gloo_chooses_itself(variables: dict[str, str]) -> None:
    done = source("echo ${GLOO_SOCKET_IFNAME-unset}", **variables)
    assert (done.returncode, done.stdout, done.stderr) == (0, "unset\n", "")


def test_a_choice_for_gloo_stays() -> None:
    done = source("echo $GLOO_SOCKET_IFNAME", NCCL_SOCKET_IFNAME="^lo", GLOO_SOCKET_IFNAME="mine0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "mine0\n", "")


def test_one_task_of_a_node_says_it() -> None:
    done = source("echo $GLOO_SOCKET_IFNAME", NCCL_SOCKET_IFNAME="lo", SLURM_LOCALID="1")
    assert (done.stdout, done.stderr) == ("lo\n", "")


def test_a_pattern_without_a_match_ends_in_one_line_that_lists_the_interfaces() -> None:
    done = source("echo went on", NCCL_SOCKET_IFNAME="none")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: NCCL_SOCKET_IFNAME=none: expected a pattern that allows one of the ")
    assert " lo" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture
def hosts_with_two_networks() -> Iterator[list[Host]]:
    """Two hosts whose own names lead to another interface than the cable: Debian gives 127.0.1.1 to a host's name."""
    with hosts(2) as machines:
        for host in machines:
            names = NAMES / host.namespace / "hosts"
            names.write_text(f"127.0.1.1 {host.name}\n{names.read_text()}")
            host.do("sysctl -w net.ipv4.tcp_retries2=4")
        yield machines


@pytest.mark.cluster
def test_an_interface_without_an_address_comes_last(hosts_with_two_networks: list[Host]) -> None:
    host = hosts_with_two_networks[0]
    assert source("list_interfaces", *host.command()).stdout.split() == ["lo", "cable"]
    host.do("ip link add bare type veth peer name end")
    for name in ("bare", "end"):
        host.do(f"ip link set {name} up")
    assert source("list_interfaces", *host.command()).stdout.split() == ["lo", "cable", "end", "bare"]
    assert source("first_interface ^lo $(list_interfaces)", *host.command()).stdout == "cable\n"
    host.do("ip link set bare down")
    assert "bare" not in source("list_interfaces", *host.command()).stdout


@pytest.mark.cluster
def test_hosts_with_two_networks_train_over_the_chosen_one(
    hosts_with_two_networks: list[Host], tmp_path: Path, cache_dir: Path
) -> None:
    """By itself gloo would take the address that a host's own name leads to, which the other host does not reach."""
    settings = SETTINGS | {"max_steps": "4", "timeout": "60", "cache_dir": str(cache_dir)}
    settings |= {"run_dir": str(tmp_path / "run")}
    for host in hosts_with_two_networks:
        assert host.do(f"getent hosts {host.name}").startswith("127.0.1.1 ")
    with launched(hosts_with_two_networks, settings, tmp_path, NCCL_SOCKET_IFNAME="^lo") as both:
        assert [launcher.wait() for launcher in both] == [0, 0], [launcher.said() for launcher in both]
        for launcher in both:
            assert f"gloo uses cable on {launcher.host.name};" in launcher.said()
