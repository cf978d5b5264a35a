"""The machine is described as the system itself tells it."""

import os
import platform
import re
from pathlib import Path

import pytest

from wgan_dist.reporting.environment import describe

MEMORY = Path("/proc/meminfo")


def test_the_machine_is_what_the_system_says() -> None:
    found = describe()
    assert found["Cores"].endswith(f"of {os.cpu_count()}")
    assert found["Python"] == platform.python_version()
    assert found["Processor"]


@pytest.mark.skipif(not MEMORY.exists(), reason="not Linux")
def test_memory_is_what_the_kernel_counts() -> None:
    kibibytes = re.findall(r"MemTotal: +([0-9]+) kB", MEMORY.read_text())
    assert describe()["Memory"] == f"{int(kibibytes[0]) / 2**20:.1f} GiB"
