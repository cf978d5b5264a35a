"""The work of `python -m wgan_dist.evaluate`: opens generators and real data, measures, and writes the results."""

import dataclasses
import json
from pathlib import Path

import torch

from export.loaders import LoadedSamples, open_folder, open_generator
from wgan_dist import distributed
from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, EVALUATIONS, check_parts_inside
from wgan_dist.config import Config, is_run, read_config
from wgan_dist.config.config import NO_LABELS
from wgan_dist.config.data_choices import BUILT_IN
from wgan_dist.config.fields import AUTO
from wgan_dist.config.image_size import ImageSize
from wgan_dist.data.datasets import Dataset, ImageDataset, open_images, open_points
from wgan_dist.data.holdout import Split, split_holdout
from wgan_dist.data.image_settings import image_settings
from wgan_dist.data.labels import Labels, named
from wgan_dist.data.points import are_points
from wgan_dist.data.synthetic import DRAWS
from wgan_dist.data.transforms import GREY
from wgan_dist.evaluate import DEFAULT_COUNT, EvaluateSettings
from wgan_dist.evaluation.evaluator import ImageEvaluator, make_evaluator
from wgan_dist.evaluation.results import Result, make_result, table, values_of_classes, with_earlier_metrics
from wgan_dist.reporting.spectrum import draw_spectra
from wgan_dist.utils.console import note, print_lines, print_now
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import atomic_file, write_text


def _run_of(path: Path) -> Path | None:
    """Return the run folder that a file lies in, directly or in one of its checkpoints; None if there is none."""
    folder = path.parent
    if folder.parent.name == CHECKPOINTS:
        folder = folder.parent.parent
    return folder if is_run(folder) else None


def _default_config(settings: EvaluateSettings, run: Path | None, trained_on: str, has_classes: bool) -> Config:
    if settings.data:
        return Config(data=settings.data, labels=settings.labels)
    if run is not None:
        return read_config({"run_dir": str(run), "resume": "true"})
    if trained_on in (*BUILT_IN, *DRAWS):  # need no files
        return Config(data=(trained_on,), labels=AUTO if has_classes else NO_LABELS)
    raise UserError("data: expected --data=, the real images to compare with")


def _make_config(settings: EvaluateSettings, run: Path | None, trained_on: str, has_classes: bool) -> Config:
    """Combine the settings of evaluation and those of real data.

    The real data are those of --data, of the run, or built-in ones that the generator was `trained_on`, with or without
    classes.
    """
    config, flags = _default_config(settings, run, trained_on, has_classes), vars(settings)
    names = ("metrics", "feature_extractor", "classifier", "inception_weights", "seed", "cache_dir")
    return dataclasses.replace(config, **{name: flags[name] for name in names})


def _open(config: Config, samples: LoadedSamples, channels: int | None, download: bool) -> ImageDataset:
    """Open real images at the size of the samples; the values of −1 and 1 are those of the samples."""
    size = ImageSize(*samples.shape[1:])
    settings = dataclasses.replace(image_settings(config), size=size, channels=channels)
    images = open_images(config.data, settings, config.cache_dir, download=download)
    dtype = images.pixels.dtype.name
    if dtype != samples.levels.dtype:
        expected = f"expected {samples.levels.dtype}, as {samples.source} makes them"
        raise UserError(f"data={','.join(config.data)}: its values are {dtype}; {expected}")
    return dataclasses.replace(images, levels=samples.levels)


def _open_own_data(config: Config, samples: LoadedSamples) -> Dataset:
    """Open the data that a generator was trained on, as its run read them; refuse others that lie there now.

    The run may be a stranger's, so that nothing which it names is downloaded.
    """
    data: Dataset = (
        open_points(config.data[0])
        if are_points(config.data)
        else _open(config, samples, samples.shape[0], download=False)
    )
    if data.fingerprint != samples.data_fingerprint:
        raise UserError(
            f"data={','.join(config.data)}: its samples are not those that {samples.source} was trained on; "
            "--data=… compares with other ones"
        )
    return data


def _open_images(settings: EvaluateSettings, config: Config, samples: LoadedSamples) -> ImageDataset:
    """Open real images at the size of the samples, in the greater number of channels of both."""
    channels, download = samples.shape[0], bool(settings.data)
    images = _open(config, samples, None if settings.data else channels, download)
    return _open(config, samples, channels, download) if channels > images.channels else images


def _open_data(settings: EvaluateSettings, config: Config, samples: LoadedSamples) -> Dataset:
    """Open the real data that samples are compared with."""
    if are_points(config.data) != (len(samples.shape) == 1):
        raise UserError(f"data={','.join(config.data)}: expected points for a generator of points, else images")
    own = None if settings.data else _open_own_data(config, samples)
    if are_points(config.data):
        for name in ("count", "real_count"):
            if (value := getattr(settings, name)) is not None:
                raise UserError(f"{name}={value}: expected auto, since {config.data[0]} are points")
        data = own or open_points(config.data[0])
        if data.shape != samples.shape:
            found, expected = (f"points of {shape[0]} dimensions" for shape in (data.shape, samples.shape))
            raise UserError(f"data={config.data[0]}: {found}; expected {expected}, as {samples.source} makes them")
        return data
    read = {name: getattr(settings, name) for name in ("background", "skip_bad_images")}
    changes = {name: value for name, value in read.items() if value is not None}
    if own and not changes:
        return own
    return _open_images(settings, dataclasses.replace(config, **changes), samples)


def _with_channels(samples: LoadedSamples, data: Dataset) -> LoadedSamples:
    """Return grey samples in three equal channels if the real images are in colour."""
    if samples.shape[0] == data.shape[0]:
        return samples
    if samples.shape[0] != GREY:
        found = f"{samples.shape[0]} channels, expected {data.shape[0]}, as {data.name} has"
        raise UserError(f"{samples.source}: {found}")
    channels = data.shape[0]
    note(f"{samples.source}: grey samples are compared with colour images of {data.name} in {channels} channels")
    draw = samples.draw
    return dataclasses.replace(
        samples, shape=data.shape, draw=lambda indices: draw(indices).expand(-1, channels, -1, -1)
    )


def _with_same_classes(
    settings: EvaluateSettings, data: Dataset, source: str, labels: Labels | None
) -> tuple[Dataset, Labels | None]:
    """Return real data and the labels of samples with the same classes, or both without classes."""
    if isinstance(data, ImageDataset) and data.labels and labels:
        if data.labels.classes != labels.classes:
            found = f"its classes are {named(data.labels.classes)}, and those of {source} are {named(labels.classes)}"
            raise UserError(f"data={data.name}: {found}; expected the same in the same order")
        return data, labels
    if settings.classifier:
        without = f"the data {data.name} have" if labels else f"{source} has"
        needs = "needs a generator and real images of the same classes"
        raise UserError(f"classifier={settings.classifier}: {needs}, and {without} none")
    return dataclasses.replace(data, labels=None) if isinstance(data, ImageDataset) else data, None


def _measure(settings: EvaluateSettings, config: Config, samples: LoadedSamples, count: int) -> Result:
    """Measure `count` samples against the real data of the settings."""
    data, labels = _with_same_classes(settings, _open_data(settings, config, samples), samples.source, samples.labels)
    for line in data.warnings:
        note(f"{data.name}: {line}")
    samples = _with_channels(samples, data)
    split = split_holdout(data, config.holdout)
    device = torch.device("cpu" if distributed.uses_cpu() else "cuda")
    config = dataclasses.replace(config, evaluation_images=count)
    training = Split(split.training, split.training[:0])
    asked_classes = torch.from_numpy(labels.values) if labels else None
    evaluator = make_evaluator(config, data, training, device, settings.real_count, asked_classes)
    asked = settings.real_count or settings.count or 0
    if isinstance(evaluator, ImageEvaluator) and evaluator.real_count < asked:
        note(f"{data.name} has {evaluator.real_count:,} images to compare with, fewer than the {asked:,} asked for")
    about = {name: value for name, value in vars(samples).items() if name not in ("shape", "levels", "draw", "labels")}
    if not isinstance(evaluator, ImageEvaluator):
        return make_result(about, evaluator.measure(samples.draw), evaluator)
    values, by_class = evaluator.measure_by_class(samples.draw)
    result = make_result(about, values, evaluator)
    if "spectrum_error" in evaluator.names:
        result["metrics"]["spectrum_error"]["spectra"] = evaluator.spectra(samples.draw)
    if evaluator.classes:
        for name, found in by_class.items():
            result["metrics"][name]["classes"] = values_of_classes(found, *evaluator.classes)
    return result


def _warn_if_old(samples: LoadedSamples, run: Path) -> None:
    """Say that the run has trained on since a file was written."""
    if samples.step is None or not (run / generator_file.EMA_FILE).is_file():
        return
    steps = generator_file.describe(run / generator_file.EMA_FILE).steps
    if samples.step < steps:
        note(f"{samples.source} is of step {samples.step:,}, older than the run, which is at step {steps:,}")


def _evaluate_generator(ckpt: str, settings: EvaluateSettings) -> tuple[Result, Path | None]:
    """Evaluate a generator; return the result and, for a file in a run folder, the JSON file it belongs to."""
    path, place = Path(ckpt), Path(ckpt).resolve()
    if path.is_dir():
        path = generator_file.locate(ckpt, settings.weights)
        place /= path.relative_to(ckpt)  # in the folder that the user named, also where the file is a link
    elif settings.weights == "raw":
        raise UserError(f"weights=raw: expected a run or checkpoint folder, not the file ckpt={ckpt}")
    count = settings.count or DEFAULT_COUNT
    generator = open_generator(path, settings.generator, count, settings.seed)
    run = _run_of(place)
    config = _make_config(settings, run, generator.data, generator.labels is not None)
    if run is None:
        return _measure(settings, config, generator, count), None
    check_parts_inside(run, [EVALUATIONS])
    source = place.relative_to(run)
    generator = dataclasses.replace(generator, source=source.as_posix())
    _warn_if_old(generator, run)
    name = "-".join(part for part in source.parts if part != CHECKPOINTS)
    return _measure(settings, config, generator, count), run / EVALUATIONS / f"{name}.json"


def _evaluate_folder(settings: EvaluateSettings) -> Result:
    config = _make_config(settings, None, "", has_classes=False)
    background = settings.background or config.background
    samples, images = open_folder(settings.samples, background, settings.cache_dir, settings.seed)
    for line in images.warnings:
        note(f"{samples.source}: {line}")
    count = min(settings.count or len(images), len(images))
    if settings.count and count < settings.count:
        note(f"samples={settings.samples}: has {count:,} images, fewer than count={settings.count:,}")
    return _measure(settings, config, samples, count)


def _write(file: Path, content: Result | list[Result]) -> None:
    write_text(file, json.dumps(content, indent=1, ensure_ascii=False))
    print_now(f"written: {file}")


def _write_spectra(file: Path, result: Result) -> None:
    """Draw the spectra of a result, if it has any, beside its JSON file."""
    if spectra := result["metrics"].get("spectrum_error", {}).get("spectra"):
        picture = file.with_name(f"{file.stem}-spectrum.png")
        with atomic_file(picture) as partial:
            partial.write_bytes(draw_spectra(spectra))
        print_now(f"written: {picture}")


def evaluate(settings: EvaluateSettings) -> None:
    """Measure what the settings name, print a table, and write the results as JSON.

    Raises:
        UserError: For settings and files that cannot be used, and for generators whose samples are not finite.
    """
    evaluated = [_evaluate_generator(ckpt, settings) for ckpt in settings.ckpt] or [(_evaluate_folder(settings), None)]
    results = [result for result, _ in evaluated]
    names = settings.ckpt or [result["source"] for result in results]
    print_lines(table([result | {"source": name} for result, name in zip(results, names, strict=True)]))
    for result, file in evaluated:
        if file is not None:
            _write(file, with_earlier_metrics(result, file))
            _write_spectra(file, result)
    if settings.out:
        _write(Path(settings.out), results if len(results) > 1 else results[0])
        for number, result in enumerate(results, 1):
            path = Path(settings.out)
            _write_spectra(path.with_name(f"{path.stem}-{number}{path.suffix}") if len(results) > 1 else path, result)
