"""Runs every case in a fork of a process that has imported everything. Arguments: scratch, cache, file of results."""

import json
import os
import resource
import sys
import time
import traceback
import warnings
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from export.sampler import SamplerError
from tests.faults.hostile import FINE, NO_ERROR, OTHER_ERROR, TYPED, arrays, files, graphs, pictures, runs
from tests.faults.hostile.case import Case, Place
from tests.faults.tiny import SETTINGS
from wgan_dist.train import train
from wgan_dist.utils.errors import UserError

KILLED_AFTER = 60.0


def _run(case: Case) -> int:
    print(f"--- {case.name}", flush=True)
    try:
        case.feed()
        return FINE if case.harmless else NO_ERROR
    except (UserError, SamplerError) as error:
        print(repr(str(error)[:300]), flush=True)
        return TYPED
    except BaseException:
        traceback.print_exc()
        return OTHER_ERROR


def _supervise(case: Case) -> dict[str, Any]:
    """How a case ended, its seconds, and the most memory its process held."""
    began = time.monotonic()
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os._exit(_run(case))
    while time.monotonic() - began < KILLED_AFTER:
        ended, status, usage = os.wait4(child, os.WNOHANG)
        if ended:
            seconds = usage.ru_utime + usage.ru_stime  # of the processor: others may be using it too
            return {"status": os.waitstatus_to_exitcode(status), "seconds": seconds, "bytes": usage.ru_maxrss * 1024}
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return {"status": "hung", "seconds": KILLED_AFTER, "bytes": 0}


def main() -> None:
    """One line of JSON for each case."""
    scratch, cache_dir, out = (Path(argument) for argument in sys.argv[1:])
    place = Place(scratch, cache_dir)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    honest = SETTINGS | {"cache_dir": str(cache_dir), "run_dir": str(place.run_dir), "max_steps": "1"}
    _supervise(Case("an honest run", lambda: train(honest), harmless=True))
    (scratch / "cases").mkdir()
    makers = [
        files.generator_cases,
        files.checkpoint_cases,
        files.recipe_cases,
        runs.run_cases,
        pictures.folder_cases,
        arrays.array_cases,
        graphs.graph_cases,
        graphs.argument_cases,
        pictures.fuzzed_cases,
    ]
    with out.open("w") as results:
        for case in chain.from_iterable(make(place) for make in makers):
            before = place.outside()
            result = {"name": case.name} | _supervise(case)
            result["outside"] = sorted(place.outside() - before)
            results.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
