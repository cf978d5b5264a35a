"""The command line of evaluation: any generator file, or any folder of images, against real images."""

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from export.loaders import KINDS, Subject, open_folder, open_generator
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.config import command_line, is_run, load_config, parse_background
from wgan_dist.config.fields import AUTO, from_flags, setting, show
from wgan_dist.config.metric_choices import parse_metrics
from wgan_dist.data import are_points, open_images, open_points, split
from wgan_dist.data.synthetic import DRAWS
from wgan_dist.evaluation.evaluator import Evaluator, PointEvaluator, image_evaluator
from wgan_dist.evaluation.metric_set import open_metric_set, reasons_in_words
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import write_text

USAGE = """
Measure generators, in any of their files, or images of any program.

  python -m wgan_dist.evaluate --ckpt=runs/0001                               all that can be computed here
  python -m wgan_dist.evaluate --ckpt=runs/0001 --metrics=fid,kid --count=50000
  python -m wgan_dist.evaluate --ckpt=a.onnx,a_int8.onnx --data=photos/       the files that ship, side by side
  python -m wgan_dist.evaluate --samples=images/ --data=photos/               images of any other program

Prints a table. Of what lies in a run's folder, a JSON file goes to evaluations/ in it.
"""
FORMAT_VERSION = 1
COUNT = 10_000
EVALUATIONS = "evaluations"
BACKGROUND = "ffffff"
WEIGHTS = {"ema": ", averaged weights", "raw": ", last weights", None: ""}


def _parse_background(value: Any) -> str | None:
    return None if value == AUTO else parse_background(value)


@dataclass(frozen=True)
class EvaluateSettings:
    """What evaluation is told."""

    ckpt: tuple[str, ...] = setting((), "run or checkpoint folders, .safetensors, .pt or .onnx files, by commas")
    samples: str = setting("", "folder of images to measure instead")
    data: tuple[str, ...] = setting((), "real images, as in training; those of the run if not given")
    metrics: tuple[str, ...] | None = setting(
        None, "swd,nn,diversity,fid,kid,is,pr,frechet,kernel; auto: all that can be computed here", parse=parse_metrics
    )
    count: int | None = setting(None, f"generated images; auto: {COUNT:,}, or all of --samples", least=2)
    real_count: int | None = setting(None, "real images; auto: as many as generated", least=2)
    seed: int = setting(0, "of latents, as in sampling, and of which real images are taken", least=0)
    weights: str = setting("ema", "averaged or last weights of a folder", choices=KINDS)
    generator: str = setting("", "module:Class, for a network of your own")
    feature_extractor: str = setting("", "TorchScript or ONNX file, uint8 images → features, of frechet and kernel")
    inception_weights: str = setting("", "file of Inception's weights; torch-fidelity's cache if not given")
    background: str | None = setting(
        None,
        f"colour under transparent pixels; auto: the run's with its data, else {BACKGROUND}",
        parse=_parse_background,
    )
    skip_bad_images: bool | None = setting(
        None, "leave unreadable real images out; auto: as the run does with its data, else false"
    )
    cache_dir: str = setting("~/.cache/wgan_dist", "folder of decoded images and of features")
    out: str = setting("", "JSON file to write; needed for what lies in no run's folder, to have one")


@dataclass(frozen=True)
class Real:
    """The images or points that are compared with: their names, which part, how they were brought to their form."""

    data: tuple[str, ...]
    holdout: float = 0.0
    background: str = BACKGROUND
    skip_bad_images: bool = False


def _run_of(path: Path) -> Path | None:
    """The run that a file lies in: in its folder, or in one of its checkpoints."""
    above = path.resolve().parent
    if above.parent.name == CHECKPOINTS:
        above = above.parent.parent
    return above if is_run(above) else None


def _named(settings: EvaluateSettings, run: Path | None, named: str) -> Real:
    if settings.data:
        return Real(settings.data)
    if run is not None:
        config = load_config({"run_dir": str(run), "resume": "true"})
        return Real(config.data, config.holdout, config.background, config.skip_bad_images)
    if named == "digits" or named in DRAWS:
        return Real((named,))
    raise UserError("data: expected --data=, the real images to compare with")


def _real(settings: EvaluateSettings, run: Path | None, named: str) -> Real:
    """The real data that are asked for, else the run's, else those `named` that are at hand; flags win."""
    given: dict[str, Any] = {"background": settings.background, "skip_bad_images": settings.skip_bad_images}
    chosen = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(_named(settings, run, named), **chosen)


def _of_points(settings: EvaluateSettings, real: Real) -> PointEvaluator:
    """Raises UserError for settings of images: what is measured of points is always the same."""
    for name, verb in (("metrics", "are"), ("count", "is"), ("real_count", "is")):
        value = getattr(settings, name)
        if value is not None:
            raise UserError(f"{name}={show(value)}: {verb} of images, and {real.data[0]} are points")
    points = open_points(real.data[0])
    return PointEvaluator(points, settings.seed, split(points.values, real.holdout).training)


def _evaluation(settings: EvaluateSettings, shape: tuple[int, ...], real: Real, count: int) -> Evaluator:
    """Against the real images of `real`, brought to `shape`, that of one sample."""
    if are_points(real.data) != (len(shape) == 1):
        raise UserError(f"data={','.join(real.data)}: points are compared with points, and images with images")
    if are_points(real.data):
        return _of_points(settings, real)
    images = open_images(real.data, shape[-1], shape[0], real.background, real.skip_bad_images, settings.cache_dir)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    judges = open_metric_set(
        settings.metrics, images.shape, settings.feature_extractor, settings.inception_weights, device
    )
    parts = split(images.values, real.holdout)
    real_count = settings.real_count or count
    return image_evaluator(images, parts, judges, count, real_count, settings.seed, settings.cache_dir, device)


def _measure(subject: Subject, evaluation: Evaluator) -> dict[str, Any]:
    """What the JSON file holds."""
    values = evaluation.measure(subject.draw)
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise UserError(f"{subject.source}: {', '.join(wrong)} cannot be measured: it makes what is not finite")
    about = {name: value for name, value in vars(subject).items() if name not in ("shape", "draw")}
    words = WEIGHTS[subject.weights]
    measured = {name: {"value": value, "protocol": evaluation.protocol(name) + words} for name, value in values.items()}
    said = {"data": evaluation.data, "metrics": measured, "skipped": evaluation.skipped}
    return {"format": FORMAT_VERSION} | about | said


def _of_generator(ckpt: str, settings: EvaluateSettings) -> tuple[dict[str, Any], Path | None]:
    """The evaluation of one generator, and where it is to be written: the run it lies in, if in any."""
    path = Path(ckpt)
    if path.is_dir():
        path = generator_file.locate(ckpt, settings.weights)
    elif settings.weights == "raw":
        raise UserError(f"weights=raw: expected a run or checkpoint folder to choose in, not ckpt={ckpt}")
    count = settings.count or COUNT
    subject = open_generator(path, settings.generator, count, settings.seed)
    run = _run_of(path)
    evaluation = _evaluation(settings, subject.shape, _real(settings, run, subject.data), count)
    if run is None:
        return _measure(subject, evaluation), None
    within = path.resolve().relative_to(run)
    found = _measure(dataclasses.replace(subject, source=within.as_posix()), evaluation)
    name = "-".join(part for part in within.parts if part != CHECKPOINTS)
    return found, run / EVALUATIONS / f"{name}.json"


def _of_folder(settings: EvaluateSettings) -> dict[str, Any]:
    if not settings.data:
        raise UserError("data: expected --data=, the real images to compare --samples with")
    real = _real(settings, None, "")
    subject, images = open_folder(settings.samples, real.background, settings.cache_dir)
    count = min(settings.count or len(images), len(images))
    return _measure(subject, _evaluation(settings, subject.shape, real, count))


def _with_earlier(file: Path, found: dict[str, Any]) -> dict[str, Any]:
    """`found`, and what `file` has of the very same generator and data: the metrics that were not measured now."""
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
        if any(before[name] != found[name] for name in ("format", "sha256", "data")):
            return found
        metrics = before["metrics"] | found["metrics"]
    except (OSError, ValueError, KeyError, TypeError):  # none yet, or damaged
        return found
    skipped = {name: reason for name, reason in found["skipped"].items() if name not in metrics}
    return found | {"metrics": metrics, "skipped": skipped}


def _protocols(found: list[dict[str, Any]]) -> list[str]:
    """Those of the first source, and where others differ from it, theirs."""
    first = {name: each["protocol"] for name, each in found[0]["metrics"].items()}
    lines = [f"{name}: {protocol}" for name, protocol in first.items()]
    for other in found[1:]:
        own = {name: each["protocol"] for name, each in other["metrics"].items()}
        lines += [f"{name} of {other['source']}: {own[name]}" for name in own if own[name] != first.get(name)]
    return lines


def _reasons(found: list[dict[str, Any]]) -> list[str]:
    """Why metrics are missing from the first source, and where others differ from it, from them."""
    first = found[0]["skipped"]
    lines = reasons_in_words(first)
    for other in found[1:]:
        own = {name: reason for name, reason in other["skipped"].items() if reason != first.get(name)}
        lines += [f"{other['source']}: {line}" for line in reasons_in_words(own)]
    return lines


def table(found: list[dict[str, Any]]) -> str:
    """A line for each metric with its protocol; of several, a line for each source, and the protocols below."""
    lines = [("metric", "value", "protocol")]
    lines += [(name, f"{each['value']:.6g}", each["protocol"]) for name, each in found[0]["metrics"].items()]
    if len(found) > 1:
        names = list(dict.fromkeys(name for each in found for name in each["metrics"]))
        lines = [("source", "precision", *names)]
        for each in found:
            values = (each["metrics"].get(name) for name in names)
            shown = (f"{value['value']:.6g}" if value else "" for value in values)
            lines.append((each["source"], each["precision"] or each["kind"], *shown))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*rows, *(_protocols(found) if len(found) > 1 else []), *_reasons(found)])


def evaluate(flags: dict[str, str]) -> None:
    """Measure what the texts of settings describe; what the command line does."""
    settings = from_flags(EvaluateSettings, flags)
    if bool(settings.ckpt) == bool(settings.samples):
        raise UserError("ckpt: expected --ckpt=, a run, checkpoint or generator file, or else --samples=, a folder")
    results = [_of_generator(ckpt, settings) for ckpt in settings.ckpt] or [(_of_folder(settings), None)]
    found = [each for each, _ in results]
    named = (
        [each | {"source": ckpt} for each, ckpt in zip(found, settings.ckpt, strict=True)] if settings.ckpt else found
    )
    print(table(named))
    for each, file in results:
        if file is not None:
            write_text(file, json.dumps(_with_earlier(file, each), indent=1, ensure_ascii=False))
            print(f"written: {file}")
    if settings.out:
        write_text(Path(settings.out), json.dumps(found if len(found) > 1 else found[0], indent=1, ensure_ascii=False))
        print(f"written: {settings.out}")


if __name__ == "__main__":
    command_line.run(evaluate, EvaluateSettings, USAGE)
