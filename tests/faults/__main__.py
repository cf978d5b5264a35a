"""Print the table of faults: `python -m tests.faults`, or with the names of rows as arguments."""

import argparse
import contextlib
import io
import logging
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.faults.table import ROWS


def main() -> int:
    """Return the number of rows with failures."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Print the table of faults.")
    parser.add_argument("rows", nargs="*", help=f"some of {', '.join(ROWS)}; all by default")
    names = parser.parse_args().rows or list(ROWS)
    if unknown := [name for name in names if name not in ROWS]:
        parser.error(f"{unknown[0]}: expected some of {', '.join(ROWS)}")
    torch.set_num_threads(1)
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    failed = 0
    print("| what | tried | result |\n|---|---|---|", flush=True)
    for name in names:
        began = time.monotonic()
        with tempfile.TemporaryDirectory() as scratch:
            cache = Path(scratch) / "cache"
            folder = Path(scratch) / name
            folder.mkdir()
            with contextlib.redirect_stdout(io.StringIO()):
                row = ROWS[name](folder, cache)
        print(row, flush=True)
        print(f"{name}: {time.monotonic() - began:.0f} s", *row.failures, sep="\n  ", file=sys.stderr, flush=True)
        failed += bool(row.failures)
    return failed


if __name__ == "__main__":
    sys.exit(main())
