"""launch/multi_node.sh prints its command, and trains on two hosts, which are network namespaces of this machine."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster.namespaces import Host, hosts
from tests.faults.tiny import SETTINGS, assert_same_run, differences, flags, last_checkpoint
from tests.processes import HANG_SECONDS, PYTHON, REPOSITORY, TORCHRUN_2, run
from wgan_dist.checkpoints.run_dir import CHECKPOINTS

SCRIPT = str(REPOSITORY / "launch/multi_node.sh")
HEAD = "hostA:29500"
TIMEOUT = 8
# What torchrun may need, beyond the time-out, to notice and to end, on a busy machine.
GRACE = 60


def environment(**more: str) -> dict[str, str]:
    """Return the environment of a user who runs the script."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ours = {"VIRTUAL_ENV": sys.prefix, "PATH": path, "PYTHONPATH": str(REPOSITORY), "NODES": "2", "HEAD": HEAD}
    return os.environ | ours | {"PROCESSES": "1"} | more


def test_a_dry_run_prints_the_command() -> None:
    command = ("bash", SCRIPT, "--run_dir", "my runs/a")
    variables = environment(DRY_RUN="1", NODES="3", PROCESSES="4", RESTARTS="1", HEAD="node-1:1234")
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=True)
    words = shlex.split(done.stdout)
    launcher = words[words.index("torchrun") + 1 : words.index("-m")]
    assert dict(zip(launcher[::2], launcher[1::2], strict=True)) == {
        "--nnodes": "3",
        "--nproc_per_node": "4",
        "--max_restarts": "1",
        "--rdzv_backend": "c10d",
        "--rdzv_endpoint": "node-1:1234",
        "--rdzv_id": "wgan_dist",
        "--signals-to-handle": "SIGTERM,SIGINT,SIGUSR1",
    }
    assert words[:3] == ["env", "OMP_NUM_THREADS=1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"]
    assert words[words.index("-m") :] == ["-m", "wgan_dist.train", "--resume=auto", "--run_dir", "my runs/a"]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"NODES": ""}, "NODES=: expected the number of machines"),
        ({"NODES": "two"}, "NODES=two: expected the number of machines"),
        ({"HEAD": "hostA"}, "HEAD=hostA: expected host:port"),
        ({"PROCESSES": "0"}, "PROCESSES=0: expected the number of processes on each machine"),
        ({"RESTARTS": "-1"}, "RESTARTS=-1: expected the number of restarts"),
        ({}, "run_dir is not given: expected a folder that all machines share"),
    ],
)
def test_misuse_is_one_line(wrong: dict[str, str], message: str) -> None:
    command = ["bash", SCRIPT, *(["--run_dir=runs/a"] if wrong else [])]
    done = subprocess.run(command, env=environment(DRY_RUN="1", **wrong), capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}, as in: NODES=2 ")
    assert done.stderr.count("\n") == 1


@dataclass(frozen=True)
class Launched:
    """The script running on one host."""

    host: Host
    process: "subprocess.Popen[bytes]"
    log: Path

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait(self, seconds: float = HANG_SECONDS) -> int:
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.host.name} hangs:\n{self.said()}")

    def training(self) -> int:
        """Return the id of the training process."""
        for number in self.host.processes():
            command = Path(f"/proc/{number}/cmdline").read_bytes().decode().split("\0")
            if "wgan_dist.train" in command and "--nnodes" not in command:
                return number
        raise AssertionError(f"nothing trains on {self.host.name}:\n{self.said()}")


@contextlib.contextmanager
def launched(machines: list[Host], settings: dict[str, str], folder: Path, **more: str) -> Iterator[list[Launched]]:
    """Start the script on every host."""
    started = []
    for host in machines:
        log = folder / f"{host.name}.log"
        command = host.command("bash", SCRIPT, *flags(settings))
        with log.open("w") as out:
            process = subprocess.Popen(command, env=environment(**more), stdout=out, stderr=out, cwd=folder)
        started.append(Launched(host, process, log))
    try:
        yield started
    finally:
        for launcher in started:
            launcher.process.kill()
            launcher.process.wait()


def await_checkpoint(run_dir: Path, there: list[Launched]) -> None:
    deadline = time.monotonic() + HANG_SECONDS
    while not any((run_dir / CHECKPOINTS).glob("step-*")):
        ended = [launcher for launcher in there if launcher.process.poll() is not None]
        assert not ended, f"{ended[0].host.name}:\n{ended[0].said()}"
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def two_hosts() -> Iterator[list[Host]]:
    with hosts(2) as machines:
        for host in machines:
            host.do("sysctl -w net.ipv4.tcp_retries2=4")
        yield machines


@pytest.fixture
def settings(tmp_path: Path, cache_dir: Path) -> dict[str, str]:
    """Return the settings of a run that does not end by itself."""
    every = {"max_steps": "1000000", "checkpoint_every": "5", "sample_every": "20", "timeout": str(TIMEOUT)}
    return SETTINGS | every | {"run_dir": str(tmp_path / "run"), "cache_dir": str(cache_dir)}


def go_on_and_compare(run_dir: Path, settings: dict[str, str], tmp_path: Path) -> list[str]:
    """Resume with two processes for some steps; return how the result differs from an uninterrupted run."""
    length = f"--max_steps={int(last_checkpoint(run_dir).name.split('-')[1]) + 5}"
    train = (*TORCHRUN_2, "-m", "wgan_dist.train")
    run(*train, f"--run_dir={run_dir}", "--resume", length, cwd=tmp_path)
    run(*train, *flags(settings), f"--run_dir={tmp_path / 'straight'}", length, cwd=tmp_path)
    return differences(run_dir, tmp_path / "straight")


@pytest.mark.cluster
def test_two_hosts_train_the_network_that_one_process_does(
    two_hosts: list[Host], settings: dict[str, str], tmp_path: Path
) -> None:
    settings |= {"dtype": "float64", "max_steps": "20", "log_every": "1"}
    with launched(two_hosts, settings, tmp_path) as both:
        assert [launcher.wait() for launcher in both] == [0, 0], [launcher.said() for launcher in both]
        assert "2 processes on cpu" in "".join(launcher.said() for launcher in both)
    alone = [*flags(settings), f"--run_dir={tmp_path / 'alone'}"]
    run(*PYTHON, "-m", "wgan_dist.train", *alone, cwd=tmp_path)
    assert_same_run(tmp_path / "run", tmp_path / "alone")


@pytest.mark.cluster
def test_a_host_that_is_cut_off_ends_the_run_in_time_and_it_goes_on(
    two_hosts: list[Host], settings: dict[str, str], tmp_path: Path
) -> None:
    with launched(two_hosts, settings, tmp_path, RESTARTS="0") as both:
        await_checkpoint(tmp_path / "run", both)
        two_hosts[1].pull_cable()
        assert [launcher.wait(TIMEOUT + GRACE) for launcher in both] == [1, 1]
        assert [host.processes() for host in two_hosts] == [[], []]
        said = "".join(launcher.said() for launcher in both)
    for rank in (0, 1):
        assert f"error: rank {rank} of 2 lost the others in " in said
    assert go_on_and_compare(tmp_path / "run", settings, tmp_path) == []


@pytest.mark.cluster
def test_where_torchrun_hangs_a_signal_ends_it_after_a_minute(settings: dict[str, str], tmp_path: Path) -> None:
    """With the kernel's default, the host without the rendezvous waits for it and ignores signals."""
    with hosts(2) as machines, launched(machines, settings, tmp_path, RESTARTS="0") as both:
        await_checkpoint(tmp_path / "run", both)
        machines[1].pull_cable()
        both[0].wait(TIMEOUT + GRACE)
        time.sleep(TIMEOUT)
        assert both[1].process.poll() is None
        assert "net.ipv4.tcp_retries2=15: torchrun may hang" in both[1].said()
        both[1].process.send_signal(signal.SIGTERM)
        assert both[1].wait(60 + GRACE) == 128 + signal.SIGKILL
        assert machines[1].processes() == []


@pytest.mark.cluster
def test_after_a_kill_all_hosts_start_again_by_themselves(
    two_hosts: list[Host], settings: dict[str, str], tmp_path: Path
) -> None:
    settings |= {"max_steps": "200"}
    with launched(two_hosts, settings, tmp_path, RESTARTS="1") as both:
        await_checkpoint(tmp_path / "run", both)
        os.kill(both[1].training(), signal.SIGKILL)
        assert [launcher.wait() for launcher in both] == [0, 0], [launcher.said() for launcher in both]
        said = "".join(launcher.said() for launcher in both)
    assert "lost the others in " in said
    assert f"{tmp_path / 'run'}: step " in said  # it began again from a checkpoint
    straight = tmp_path / "straight"
    run(*TORCHRUN_2, "-m", "wgan_dist.train", *flags(settings), f"--run_dir={straight}", cwd=tmp_path)
    assert differences(tmp_path / "run", straight) == []
