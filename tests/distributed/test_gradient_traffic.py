"""DistributedDataParallel's measurements of its averaging, for which torch has no public name."""

from pathlib import Path

from torch import nn

from tests.processes import TORCHRUN_2, run, torchrun
from wgan_dist.distributed import traffic

SCRIPT = """
import torch
from torch import nn
from wgan_dist import distributed

wrapped = distributed.start(threads=1).prepare(nn.Linear(100, 1000))
assert distributed.traffic(wrapped) is None
for _ in range(4):
    wrapped(torch.randn(8, 100)).sum().backward()
measured = distributed.traffic(wrapped)
assert measured.size == 4 * 101_000
assert 0 <= measured.exposed <= measured.seconds
assert 0 < measured.seconds < 60
print("measured")
distributed.leave()
distributed.end()
"""


def test_two_processes_measure_the_averaging_of_gradients(tmp_path: Path) -> None:
    (tmp_path / "traffic.py").write_text(SCRIPT)
    assert run(*TORCHRUN_2, "traffic.py", cwd=tmp_path).stdout.count("measured") == 2


def test_one_process_of_a_launcher_exchanges_nothing(tmp_path: Path) -> None:
    script = SCRIPT[: SCRIPT.index("assert measured.size")] + "print(type(wrapped).__name__, measured)"
    (tmp_path / "traffic.py").write_text(script)
    assert run(*torchrun(1), "traffic.py", cwd=tmp_path).stdout.endswith(" None\n")


def test_a_network_of_one_process_has_no_traffic() -> None:
    assert traffic(nn.Linear(2, 3)) is None
