"""Runs of strangers: what lies under the names of their files, and what reads it."""

import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.faults.hostile.case import Case, Place
from tests.faults.hostile.pictures import png
from wgan_dist.config import load_config
from wgan_dist.evaluation.results import with_earlier_metrics
from wgan_dist.reporting.model_card import write_card
from wgan_dist.reporting.options import ReportOptions
from wgan_dist.reporting.page import write_report
from wgan_dist.reporting.run_data import read_run
from wgan_dist.reporting.timing import Timing
from wgan_dist.sample import SampleSettings
from wgan_dist.sampling import sample
from wgan_dist.train import train
from wgan_dist.utils.files import write_bytes

RUN_FILES = ("metrics.jsonl", "config.yaml", "best.json", "evaluations/a.json", "generator.safetensors")
SPARSE = 1 << 40
NAMES = {"clipboard": "a\x1b]52;c;AAAA\x07", "line": "a\nerror: forged", "direction": "a\u202eb"}


def unreadable() -> Iterator[tuple[str, Callable[[Path], object]]]:
    """Put a pipe, a device or an oversized file under the name of a run file."""
    yield "a pipe", os.mkfifo
    yield "/dev/zero", lambda path: path.symlink_to("/dev/zero")
    yield "a folder", Path.mkdir
    yield "a link to itself", lambda path: path.symlink_to(path.name)

    def sparse(path: Path) -> None:
        path.touch()
        os.truncate(path, SPARSE)

    yield "a terabyte", sparse


def records() -> Iterator[tuple[str, bytes]]:
    """Write damaged and extreme records to metrics.jsonl."""
    for text in ("1e999", "-1", "1e300", "1.5", "null", '"x"', "[" * 100_000):
        yield f"a step of {text[:9]}", f'{{"step": {text}}}'.encode()
    for name, value in (("seconds", "-5"), ("seconds", "1e308"), ("wasserstein", "-Infinity"), ("seen_images", "-1")):
        yield f"{name} of {value}", f'{{"step": 1, "{name}": {value}}}'.encode()
    yield "a million lines", b'{"step": 1}\n' * 1_000_000
    yield "ten million damaged lines", b"\n" * 10_000_000
    yield "a number of 10^6 digits", b'{"step": ' + b"1" * 1_000_000 + b"}"


def _time_nothing(path: Path) -> Timing:
    raise AssertionError(path)


def _report(run: Path) -> None:
    options = ReportOptions(runs=(str(run),), out=str(run.parent / "report.html"), timing=False)
    write_report(options, _time_nothing, lambda _: None)


def _replace(path: Path, put: Callable[[Path], object]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    put(path)


def file_cases(place: Place) -> Iterator[Case]:
    """Pipes, devices, folders and endless files under the name of each file that is read of a run."""
    for name in RUN_FILES:
        for kind, put in unreadable():
            run = place.run()
            _replace(run / name, put)
            yield Case(f"run: {name} is {kind}, read", partial(read_run, run, "a"), harmless=True)
            if name == "metrics.jsonl":
                more = {"run_dir": str(run), "resume": "true", "max_steps": "9"}
                yield Case(f"run: {name} is {kind}, resumed", partial(train, more))
            elif name == "generator.safetensors":
                draw = SampleSettings(ckpt=str(run), out=str(run.parent / "a.png"))
                yield Case(f"run: {name} is {kind}, sampled", partial(sample, draw))
            elif name == "evaluations/a.json":
                merge = partial(with_earlier_metrics, {"metrics": {}, "skipped": {}}, run / name)
                yield Case(f"run: {name} is {kind}, merged", merge, harmless=True)
    for kind, put in unreadable():
        run = place.run()
        _replace(run / "README.md", put)
        yield Case(f"run: README.md is {kind}", partial(write_card, run), harmless=True)


def content_cases(place: Place) -> Iterator[Case]:
    """Numbers that cannot be, deep nesting, and very many lines."""
    for name, content in records():
        run = place.run()
        (run / "metrics.jsonl").write_bytes(content + b"\n")
        yield Case(f"metrics.jsonl: {name}, reported", partial(_report, run), harmless=True)
        more = {"run_dir": str(run), "resume": "true", "max_steps": "9"}
        if name != "a million lines":  # which an honest run may have
            yield Case(f"metrics.jsonl: {name}, resumed", partial(train, more), harmless=True)
    best = {"metric": "fid", "value": 1.0, "step": 1, "protocol": "p"}
    for key, value in (("value", float("inf")), ("step", float("inf")), ("step", -1), ("value", [])):
        run = place.run()
        (run / "best.json").write_text(json.dumps(best | {key: value}))
        yield Case(f"best.json: {key} of {value}", partial(_report, run), harmless=True)
    run = place.run()
    (run / "best.json").write_text("[" * 100_000)
    yield Case("best.json: nested", partial(_report, run), harmless=True)


def setting_cases(place: Place) -> Iterator[Case]:
    """Sizes in a recipe that would be allocated, and names that no system has."""
    for name in ("grid_images", "workers", "threads", "batch_size", "latent_dim", "image_size", "evaluation_images"):
        path = place.file("recipe.yaml", f"{name}: 1000000000\n".encode())
        yield Case(f"recipe: {name} of 10^9", partial(load_config, {"recipe": str(path), "data": "digits"}))
    path = place.file("recipe.yaml", rb'data: "a\0b"')
    yield Case("recipe: a zero byte in a path", partial(load_config, {"recipe": str(path)}))


def picture_cases(place: Place) -> Iterator[Case]:
    """Pictures in samples/ of a run, and their names."""
    for side in (6_000, 12_000, 20_000):
        run = place.run()
        write_bytes(run / "samples" / "step-00000001-ema.png", png(side, side, 8, 2, data=b""))
        yield Case(f"samples/ of {side:,} x {side:,}", partial(_report, run), harmless=True)
    for kind, put in unreadable():
        run = place.run()
        _replace(run / "samples" / "step-00000001-ema.png", put)
        yield Case(f"samples/ with {kind}", partial(_report, run), harmless=True)
    for kind, name in NAMES.items():
        run = place.run()
        (run / "samples").mkdir(exist_ok=True)
        (run / "samples" / f"step-1{name}-ema.png").touch()
        yield Case(f"samples/ with a name of a {kind}", partial(write_card, run), harmless=True)


def run_cases(place: Place) -> Iterator[Case]:
    """All of these."""
    for cases in (file_cases, content_cases, setting_cases, picture_cases):
        yield from cases(place)
