"""Check and measure what holds on the GPU of this machine, and append the results to a Markdown table.

    python -m tests.gpu_session
    python -m tests.gpu_session --cpu --out=cpu.md

`--cpu` goes the same ways in small sizes without a GPU. A failure makes the exit status 1; what a machine cannot do is
"not tried", which is no failure.
"""

import argparse
import faulthandler
import os
import sys
import tempfile
import time
from pathlib import Path

import torch

from tests.gpu_session.environment import card
from tests.gpu_session.items import CHECKS, MINUTES, items
from tests.gpu_session.machine import Machine
from tests.gpu_session.session import run_items
from tests.gpu_session.table import Table
from wgan_dist.utils.errors import UserError


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.gpu_session", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("items", nargs="*", metavar="item", help=f"what to run, by default all: {', '.join(CHECKS)}")
    parser.add_argument("--cpu", action="store_true", help="go the same ways in small sizes without a GPU")
    parser.add_argument("--out", type=Path, default=Path("gpu_session.md"), help="file to append the table to")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="time for all items")
    return parser.parse_args()


def _machine(cpu: bool, scratch: Path) -> Machine:
    if cpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # also of the processes that are started
        torch.set_num_threads(1)  # threads of several processes slow each other, and small networks gain nothing
    elif not torch.cuda.is_available():
        raise UserError("no GPU was found; --cpu goes the same ways without one")
    # cuBLAS needs it to be deterministic, and reads it once.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return Machine(torch.device("cpu" if cpu else "cuda"), scratch)


def _check_items(names: list[str]) -> None:
    for name in names:
        if name not in CHECKS:
            raise UserError(f"item={name}: expected one of {', '.join(CHECKS)}")


def _table(machine: Machine, path: Path) -> Table:
    try:
        return Table(path, f"# {card(machine)}, torch {torch.__version__}, {time.strftime('%d %B %Y')}")
    except OSError as error:
        raise UserError(f"out={path}: cannot be written: {error.strerror}") from error


def run(arguments: argparse.Namespace) -> int:
    """Run the items that the arguments name, or all; return the number of failures."""
    _check_items(arguments.items)
    with tempfile.TemporaryDirectory() as scratch:
        machine = _machine(arguments.cpu, Path(scratch))
        table = _table(machine, arguments.out)
        chosen = [item for item in items(machine, arguments.minutes) if item.name in (arguments.items or CHECKS)]
        run_items(chosen, table, arguments.minutes * 60)
    return table.failures


def main() -> None:
    """Run the command line."""
    try:
        failures = run(_arguments())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(failures > 0)


if __name__ == "__main__":
    faulthandler.enable()
    main()
