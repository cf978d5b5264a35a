"""Print how many kernels and device copies training launches, for each network and precision.

python -m tests.null_cuda [--compile] [NETWORK …]

Each cell is a critic iteration and a generator step, at the default features and a batch size of 64, with the gradient
penalty of the default. --compile adds the runs with --compile=true, which take minutes each.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.null_cuda.build import build, reason_not_to_build
from tests.null_cuda.cases import full_size
from tests.null_cuda.run import results
from tests.null_cuda.textbook_steps import CASES as TEXTBOOK_CASES
from wgan_dist.config.network_choices import GENERATORS

PRECISIONS = ("float32", "bf16", "fp16")
TIMEOUT = 3600


def _cell(result: dict[str, Any]) -> str:
    return result["error"].splitlines()[-1] if "error" in result else f"{result['critic']} / {result['generator']}"


def _row(library: Path, network: str, precision: str, compiled: bool) -> list[str]:
    settings = full_size(network, precision)
    cases = {"eager": settings} | ({"compiled": settings | {"compile": "true"}} if compiled else {})
    ours = results(library, "tests.null_cuda.steps", ["1"], cases, TIMEOUT)
    cells = [network, precision, *map(_cell, ours.values())]
    if network not in TEXTBOOK_CASES:
        return [*cells, ""]
    request = {"textbook": [network, precision]}
    return [*cells, _cell(results(library, "tests.null_cuda.textbook_steps", [], request, TIMEOUT)["textbook"])]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.null_cuda", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"Any of {', '.join(GENERATORS)}.")
    parser.add_argument("--compile", action="store_true", help="Count compiled losses too; minutes for each row.")
    arguments = parser.parse_args()
    for network in arguments.networks:
        if network not in GENERATORS:
            parser.error(f"NETWORK={network}: expected any of {', '.join(GENERATORS)}")
    return arguments


def main() -> None:
    """Print the table as Markdown, each row as it comes."""
    arguments = _arguments()
    if reason := reason_not_to_build():
        sys.exit(f"null CUDA device: {reason}")
    columns = ["Network", "Precision", "Eager", *(["Compiled"] if arguments.compile else []), "Textbook, fused Adam"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
        for network in arguments.networks or GENERATORS:
            for precision in PRECISIONS:
                print(f"| {' | '.join(_row(library, network, precision, arguments.compile))} |", flush=True)


if __name__ == "__main__":
    main()
