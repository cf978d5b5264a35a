"""A signal stops a run: at once before training, at the next boundary during training."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.tiny import SETTINGS, flags
from tests.processes import HANG_SECONDS, PYTHON, REPOSITORY
from wgan_dist.checkpoints import checkpoint_folders
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, checkpoint_name
from wgan_dist.config.command_line import EXIT_STOPPED
from wgan_dist.utils import signals
from wgan_dist.utils.errors import Stopped


@pytest.fixture
def listening() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in signals.STOPPING}
    signals.install_handlers()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("listening")
@pytest.mark.parametrize("number", signals.STOPPING)
def test_before_training_a_signal_raises_and_in_training_it_sets_a_flag(number: signal.Signals) -> None:
    with pytest.raises(Stopped, match=f"stopped by {number.name} before training began; there was nothing to save"):
        signal.raise_signal(number)
    signals.install_handlers()
    assert signals.requested_signal() == 0
    signals.defer_stop_signals()
    signal.raise_signal(number)
    assert signals.requested_signal() == number


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path, cache_dir: Path) -> None:
    arguments = [*flags(SETTINGS | {"cache_dir": str(cache_dir), "max_steps": "1000000"}), "--run_dir=run"]
    process = subprocess.Popen(
        [*PYTHON, "-m", "wgan_dist.train", *arguments],
        cwd=tmp_path,
        env={"PYTHONPATH": str(REPOSITORY), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while not process.stdout.readline().startswith("first step"):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=HANG_SECONDS)
    assert process.returncode == EXIT_STOPPED == 75
    assert said.startswith("stopped by SIGINT after step ")
    assert said.endswith("everything is saved. To resume: the same command with --run_dir=run --resume\n")
    words = said.replace(";", "").split()
    step, iteration = int(words[5]), int(words[7]) if words[6] == "and" else 0
    newest = checkpoint_folders.newest_checkpoint(tmp_path / "run" / CHECKPOINTS, set_aside=False)
    assert newest.name == checkpoint_name(step, iteration)
