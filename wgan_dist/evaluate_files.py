"""The work of `python -m wgan_dist.evaluate`: opens generators and real data, measures, and writes the results."""

import dataclasses
import json
from pathlib import Path

import torch

from export.loaders import LoadedSamples, open_folder, open_generator
from wgan_dist import distributed
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, EVALUATIONS
from wgan_dist.config import Config, is_run, load_config
from wgan_dist.data.datasets import Dataset, open_images, open_points
from wgan_dist.data.holdout import Split, split_holdout
from wgan_dist.data.synthetic import DRAWS, are_points
from wgan_dist.evaluate import DEFAULT_COUNT, EvaluateSettings
from wgan_dist.evaluation.evaluator import Evaluator, make_evaluator
from wgan_dist.evaluation.results import Result, make_result, table, with_earlier_metrics
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import write_text


def _run_of(path: Path) -> Path | None:
    """Return the run folder that a file lies in, directly or in one of its checkpoints; None if there is none."""
    folder = path.resolve().parent
    if folder.parent.name == CHECKPOINTS:
        folder = folder.parent.parent
    return folder if is_run(folder) else None


def _default_config(settings: EvaluateSettings, run: Path | None, trained_on: str) -> Config:
    if settings.data:
        return Config(data=settings.data)
    if run is not None:
        return load_config({"run_dir": str(run), "resume": "true"})
    if trained_on == "digits" or trained_on in DRAWS:  # need no files
        return Config(data=(trained_on,))
    raise UserError("data: expected --data=, the real images to compare with")


def _make_config(settings: EvaluateSettings, run: Path | None, trained_on: str) -> Config:
    """Combine the settings of evaluation and those of real data.

    The real data are those of --data, of the run, or built-in ones that the generator was `trained_on`.
    """
    config, flags = _default_config(settings, run, trained_on), vars(settings)
    names = ("metrics", "feature_extractor", "inception_weights", "seed", "cache_dir")
    given = [name for name in ("background", "skip_bad_images") if flags[name] is not None]
    return dataclasses.replace(config, **{name: flags[name] for name in (*names, *given)})


def _make_evaluator(settings: EvaluateSettings, config: Config, shape: tuple[int, ...], count: int) -> Evaluator:
    """Build an evaluator of `count` samples of a shape against real data of the same shape."""
    data: Dataset
    if are_points(config.data) != (len(shape) == 1):
        raise UserError(f"data={','.join(config.data)}: expected points for a generator of points, else images")
    if are_points(config.data):
        for name in ("count", "real_count"):
            if (value := getattr(settings, name)) is not None:
                raise UserError(f"{name}={value}: expected auto, since {config.data[0]} are points")
        data = open_points(config.data[0])
    else:
        data = open_images(
            config.data, shape[-1], shape[0], config.background, config.skip_bad_images, config.cache_dir
        )
    training = split_holdout(data.values, config.holdout).training
    device = torch.device("cpu" if distributed.uses_cpu() else "cuda")
    config = dataclasses.replace(config, evaluation_images=count)
    return make_evaluator(config, data, Split(training, training[:0]), device, settings.real_count)


def _measure(samples: LoadedSamples, evaluator: Evaluator) -> Result:
    about = {name: value for name, value in vars(samples).items() if name not in ("shape", "draw")}
    return make_result(about, evaluator.measure(samples.draw), evaluator)


def _evaluate_generator(ckpt: str, settings: EvaluateSettings) -> tuple[Result, Path | None]:
    """Evaluate a generator; return the result and, for a file in a run folder, the JSON file it belongs to."""
    path = Path(ckpt)
    if path.is_dir():
        path = generator_file.locate(ckpt, settings.weights)
    elif settings.weights == "raw":
        raise UserError(f"weights=raw: expected a run or checkpoint folder, not the file ckpt={ckpt}")
    count = settings.count or DEFAULT_COUNT
    generator = open_generator(path, settings.generator, count, settings.seed)
    run = _run_of(path)
    evaluator = _make_evaluator(settings, _make_config(settings, run, generator.data), generator.shape, count)
    if run is None:
        return _measure(generator, evaluator), None
    source = path.resolve().relative_to(run)
    result = _measure(dataclasses.replace(generator, source=source.as_posix()), evaluator)
    name = "-".join(part for part in source.parts if part != CHECKPOINTS)
    return result, run / EVALUATIONS / f"{name}.json"


def _evaluate_folder(settings: EvaluateSettings) -> Result:
    config = _make_config(settings, None, "")
    samples, images = open_folder(settings.samples, config.background, settings.cache_dir)
    count = min(settings.count or len(images), len(images))
    return _measure(samples, _make_evaluator(settings, config, samples.shape, count))


def _write(file: Path, content: Result | list[Result]) -> None:
    write_text(file, json.dumps(content, indent=1, ensure_ascii=False))
    print(f"written: {file}")


def evaluate(settings: EvaluateSettings) -> None:
    """Measure what the settings name, print a table, and write the results as JSON.

    Raises:
        UserError: For settings and files that cannot be used, and for generators whose samples are not finite.
    """
    evaluated = [_evaluate_generator(ckpt, settings) for ckpt in settings.ckpt] or [(_evaluate_folder(settings), None)]
    results = [result for result, _ in evaluated]
    names = settings.ckpt or [result["source"] for result in results]
    print(table([result | {"source": name} for result, name in zip(results, names, strict=True)]))
    for result, file in evaluated:
        if file is not None:
            _write(file, with_earlier_metrics(result, file))
    if settings.out:
        _write(Path(settings.out), results if len(results) > 1 else results[0])
