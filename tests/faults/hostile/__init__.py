"""Input made to do harm: each is refused by a typed error within seconds and a gigabyte, and nothing else happens."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.faults import Row
from tests.processes import REPOSITORY

SECONDS, GIBIBYTE = 5.0, 1 << 30
TYPED, FINE, NO_ERROR, OTHER_ERROR = 0, 1, 2, 3


def rows(scratch: Path, cache_dir: Path) -> Row:
    """All cases, and whether each ended as it should."""
    row = Row("hostile input: a typed error within 5 s of processor time and 1 GiB, nothing written outside")
    out, place = scratch / "results", scratch / "place"
    place.mkdir()
    with (scratch / "log").open("w") as said:
        command = [sys.executable, "-m", "tests.faults.hostile", str(place), str(cache_dir), str(out)]
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
        subprocess.run(command, cwd=scratch, env=environment, stdout=said, stderr=said, check=True)
    results = [json.loads(line) for line in out.read_text().splitlines()]
    for result in results:
        quick = result["seconds"] <= SECONDS
        fine = result["status"] in (TYPED, FINE) and quick and result["bytes"] <= GIBIBYTE and not result["outside"]
        row.expect(fine, str(result))
    fuzzed = sum(result["name"].startswith("malformed") for result in results)
    slowest, greatest = (max(each[key] for each in results) for key in ("seconds", "bytes"))
    row.note = f"{fuzzed} of them fuzzed pictures; the slowest {slowest:.1f} s, the greatest {greatest / 2**20:.0f} MiB"
    return row
