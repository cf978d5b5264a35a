"""The description of the machine agrees with the system's own."""

import os
import platform
import re
from pathlib import Path

import pytest

from wgan_dist.reporting.environment import describe_machine

MEMORY = Path("/proc/meminfo")


def test_the_machine_is_described_as_the_system_does() -> None:
    found = describe_machine()
    assert found["Cores"].endswith(f"of {os.cpu_count()}")
    assert found["Python"] == platform.python_version()
    assert found["Processor"]


@pytest.mark.skipif(not MEMORY.exists(), reason="not Linux")
def test_memory_is_that_of_the_kernel() -> None:
    kibibytes = re.findall(r"MemTotal: +([0-9]+) kB", MEMORY.read_text())
    assert describe_machine()["Memory"] == f"{int(kibibytes[0]) / 2**20:.1f} GiB"
