"""The model card of a generator: a README.md whose metadata the Hugging Face Hub reads."""

import html
import math
import re
import shlex
import urllib.parse
from dataclasses import replace
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.generator_file import Description
from wgan_dist.checkpoints.run_dir import SAMPLES
from wgan_dist.config import Config, is_run
from wgan_dist.config.fields import show
from wgan_dist.config.network_choices import is_own_class
from wgan_dist.reporting.classes import class_table
from wgan_dist.reporting.frames import sample_files
from wgan_dist.reporting.run_data import AVERAGED, Measurement, RunData, read_run
from wgan_dist.tracking.metric_names import CERTIFIED_METRICS, METRICS
from wgan_dist.utils.console import escape_unprintable
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import MAX_TEXT_BYTES, read_file, write_text

CARD_FILE = "README.md"
TEMPLATE = Path(__file__).with_suffix(".md")
LIBRARY, TASK, CONDITIONAL = "wgan_dist", "unconditional-image-generation", "class-conditional-image-generation"
MARK = "<!-- Written by wgan_dist, which overwrites this file. Remove this line to keep your changes. -->"
# Licences that the Hub identifies by their SPDX name in lower case; any other one is "other" with a name.
LICENSES = {
    *("apache-2.0", "mit", "cc0-1.0", "bsd-2-clause", "bsd-3-clause", "gpl-2.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0"),
    *(f"cc-by{terms}-4.0" for terms in ("", "-sa", "-nc", "-nd", "-nc-sa", "-nc-nd")),
    *("mpl-2.0", "isc", "unlicense", "pddl", "odbl", "odc-by"),
}
# Names of data sets on the Hub, by their names in this package.
DATASETS = {
    "mnist": "ylecun/mnist",
    "fashion_mnist": "zalando-datasets/fashion_mnist",
    "cifar10": "uoft-cs/cifar10",
    "cifar100": "uoft-cs/cifar100",
}
LOSSES = {
    "wasserstein": "Arjovsky, Chintala, Bottou: Wasserstein Generative Adversarial Networks. ICML 2017",
    "bce": "Goodfellow et al.: Generative Adversarial Nets. NIPS 2014",
    "hinge": "Lim, Ye: Geometric GAN. 2017",
    "relativistic": (
        "Jolicoeur-Martineau: The Relativistic Discriminator: A Key Element Missing from Standard GAN. ICLR 2019"
    ),
}
ZERO_CENTRED = "Mescheder, Geiger, Nowozin: Which Training Methods for GANs do actually Converge? ICML 2018"
PENALTIES = {
    "gp": "Gulrajani et al.: Improved Training of Wasserstein GANs. NIPS 2017",
    "lp": "Petzka, Fischer, Lukovnikov: On the Regularization of Wasserstein GANs. ICLR 2018",
    "r1": ZERO_CENTRED,
    "r1r2": ZERO_CENTRED,
    "dragan": "Kodali et al.: On Convergence and Stability of GANs. 2017",
}
SPECTRAL = "Miyato et al.: Spectral Normalization for Generative Adversarial Networks. ICLR 2018"
DIFFAUGMENT = "Zhao et al.: Differentiable Augmentation for Data-Efficient GAN Training. NeurIPS 2020"
AUGMENTATIONS = {
    "diffaugment": DIFFAUGMENT,
    "adaptive": "Karras et al.: Training Generative Adversarial Networks with Limited Data. NeurIPS 2020",
}
FREEZE = "Mo, Cho, Shin: Freeze the Discriminator: a Simple Baseline for Fine-Tuning GANs. 2020"
DRAWS = {
    "normal": "rng.standard_normal((16, {dim}), dtype=np.float32)",
    "uniform": "rng.uniform(-1, 1, (16, {dim})).astype(np.float32)",
}
SNIPPET = """import numpy as np, onnxruntime
rng, session = np.random.default_rng(0), onnxruntime.InferenceSession("generator.onnx")
z = {z}
{label}samples = session.run(None, {{{inputs}}})[0]  # float32 {shape}"""
LABEL = """label = np.full(16, {number}, np.int64)  # {name}
"""
# A name that can stand in a command or a comment as it is.
SIMPLE_NAME = re.compile(r"\w[\w .-]{0,40}")
PIXELS = """ in [-1, 1]
pixels = ((samples + 1) * 127.5).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)"""


def _plain(text: Any) -> str:
    """Return a text on one line without unprintable characters, for the metadata, which are YAML."""
    return escape_unprintable(" ".join(str(text).split()))


def _escape(text: Any) -> str:
    """Return a text on one line in which nothing is Markdown or HTML, ends the cell of a table, or is unprintable."""
    line = html.escape(_plain(text), quote=False)
    escaped = "".join(f"\\{letter}" if letter in "\\`*_[]|#~$" else letter for letter in line)
    return escaped.replace("://", "&#58;//")  # an address would become a link by itself


def _metrics(run: RunData | None, description: Description) -> list[Measurement]:
    """Return the finite metrics of a run: those of evaluations, that of the best checkpoint, and recorded ones.

    A metric that training recorded of the card's generator is left out if it was also measured otherwise.
    """
    if run is None:
        return []
    measured = [replace(metric, protocol=f"{metric.protocol}; data: {metric.data}") for metric in run.measurements]
    if run.best:
        measured.append(replace(run.best, data=description.data))
    own = {metric.metric for metric in measured if metric.is_of(description)}
    last = next((record for record in reversed(run.records) if record.keys() & METRICS.keys()), {"step": 0})
    step, protocol = int(last["step"]), f"recorded in training, evaluation_images={run.config.evaluation_images:,}"
    if step == description.steps:
        last = {name: value for name, value in last.items() if name not in own}
    measured += [
        Measurement(name, last[name], math.nan, "", protocol, description.data, AVERAGED, "ema", step)
        for name in METRICS
        if name in last
    ]
    measured += _certified(run, description)
    return [metric for metric in measured if math.isfinite(metric.value)]


def _certified(run: RunData, description: Description) -> list[Measurement]:
    """Return the last certified estimate of a run and its lower limit."""
    last = next((record for record in reversed(run.records) if record.keys() & CERTIFIED_METRICS.keys()), {"step": 0})
    protocol = "recorded in training, by a 1-Lipschitz critic on held-out samples; in expectation at most the distance"
    return [
        Measurement(name, last[name], math.nan, "", protocol, description.data, AVERAGED, "ema", int(last["step"]))
        for name in CERTIFIED_METRICS
        if name in last
    ]


def _eval_results(metrics: list[Measurement], description: Description) -> list[EvalResult]:
    """Return the results of the card's generator, one for each metric: the first, whose protocol says most."""
    own = {metric.metric: metric for metric in reversed(metrics) if metric.is_of(description)}
    return [
        EvalResult(
            task_type=_task(description) or "other",
            dataset_type=DATASETS.get(metric.data, _plain(metric.data)),
            dataset_name=_plain(metric.data),
            metric_type=_plain(metric.metric),
            metric_value=metric.value,
            metric_args={"protocol": _plain(metric.protocol)},
        )
        for metric in own.values()
    ]


def _task(description: Description) -> str | None:
    """Return the task of the Hub, which has none for points and for images of a chosen class."""
    return None if description.makes_points or description.classes else TASK


def _license_fields(name: str) -> tuple[str | None, str | None]:
    """Return the metadata `license` and `license_name` of an SPDX name."""
    if not name:
        return None, None
    return (name.lower(), None) if name.lower() in LICENSES else ("other", _plain(name))


def _tags(description: Description, run: RunData | None, graph: str) -> list[str]:
    tags = ["gan"]
    if run and run.config.loss == "wasserstein":
        tags += ["wgan", "wgan-gp"] if run.config.penalty == "gp" else ["wgan"]
    tags += ["onnx"] if graph else []
    return tags if description.makes_points else [*tags, CONDITIONAL if description.classes else TASK]


def _method(config: Config) -> str:
    weight = f", weight {config.gp_weight:g}" if config.penalty in PENALTIES else ""
    weight += f", every {config.penalty_every} iterations" if config.penalty_every > 1 else ""
    clip = f", bound {config.clip_value:g}" if config.penalty == "clip" else ""
    return f"loss {config.loss}, penalty {config.penalty}{weight}{clip}, spectral norm: {config.spectral_norm}"


def _optimizer(config: Config) -> str:
    betas = f" with betas {show(config.betas)}" if config.optimizer == "adam" else ""
    return f"{config.optimizer}{betas}; learning rates: critic {config.critic_lr:g}, generator {config.generator_lr:g}"


def _averaging(config: Config) -> str:
    if config.ema_half_life is None:
        return f"decay {config.ema_decay:g}"
    return f"half-life {config.ema_half_life:,} images"


def _augmentation(config: Config) -> str:
    mirrored = ", mirrored images" if config.flip else ""
    frozen = f"; the first {config.freeze_critic} layers of the critic are frozen" if config.freeze_critic else ""
    changes = f" ({', '.join(config.augment_policy)})" if config.augment != "none" else ""
    return f"{config.augment}{changes}{mirrored}{frozen}"


def _samples(description: Description) -> str:
    return "points" if description.makes_points else "images"


def _missing(description: Description) -> str:
    """Return in words which statements of the author are missing, each with the setting that makes it."""
    settings = {
        "a description (`--description=…`)": description.description,
        "a licence (`--license=…`, an SPDX name such as CC0-1.0)": description.license,
    }
    return " and ".join(words for words, value in settings.items() if not value.strip())


def _training_facts(description: Description, run: RunData | None) -> list[tuple[str, str]]:
    """Return the rows of the table on the training, as name and value."""
    network = description.network
    features = network.arguments["features"]
    width = "" if features is None else f", {features} features"
    facts = [
        ("Data", description.data),
        (f"Training {_samples(description)}", f"{description.training_examples:,}"),
        ("Network", f"{network.name}{width}, norm {network.arguments['norm']}"),
        ("Latent vector", f"{description.latent_dim} numbers, {description.latent_distribution}"),
        ("Weights", "averaged over training (EMA)" if description.weights == "ema" else "those of the last step"),
        ("Length", f"{description.steps:,} generator steps; the critic saw {description.seen_images:,} real examples"),
        ("Licence", description.license or "not stated"),
        ("Written by", f"wgan_dist {description.package_version}"),
    ]
    if run:
        config = run.config
        facts[3:3] = [
            ("Recipe", Path(config.recipe).name or "none"),
            ("Method", _method(config)),
            ("Schedule", f"{config.n_critic} critic iterations per generator step, batch size {config.batch_size}"),
            ("Optimizers", _optimizer(config)),
            ("Averaging", _averaging(config)),
            ("Augmentation", _augmentation(config)),
            ("Seed", show(config.seed)),
        ]
    return [(name, _escape(value)) for name, value in facts]


def _papers(config: Config | None) -> list[str]:
    if config is None:
        return []
    papers = [
        LOSSES.get(config.loss),
        PENALTIES.get(config.penalty),
        SPECTRAL if config.spectral_norm != "none" else None,
        DIFFAUGMENT if config.augment != "none" else None,
        AUGMENTATIONS.get(config.augment),
        FREEZE if config.freeze_critic else None,
    ]
    return [paper for paper in dict.fromkeys(papers) if paper]


def _onnx_snippet(description: Description) -> str:
    shape = [16, *description.network.sample_shape]
    z = DRAWS[description.latent_distribution].format(dim=description.latent_dim)
    label, inputs = "", '"z": z'
    if description.classes:
        number, name = _example(description)
        label, inputs = LABEL.format(number=number, name=name), '"z": z, "label": label'
    return SNIPPET.format(z=z, shape=shape, label=label, inputs=inputs) + ("" if description.makes_points else PIXELS)


def _example(description: Description) -> tuple[int, str | int]:
    """Return a class to show the use of labels with: its number, and its name, or the number where that is no word."""
    simple = [each for each in enumerate(description.classes) if SIMPLE_NAME.fullmatch(each[1])]
    return simple[0] if simple else (0, 0)


def _class_values(description: Description, run: RunData | None) -> dict[str, Any]:
    """Return what the card says of classes."""
    if not description.classes:
        return {"classes": None}
    own = [measurement for measurement in run.measurements if measurement.is_of(description)] if run else []
    _, name = _example(description)
    return {"classes": class_table(description, own), "label": repr(name), "flag": shlex.quote(f"--label={name}")}


def _newest_sample(run_dir: Path) -> str:
    """Return the path of the newest picture of samples within a run folder, empty if there is none."""
    files = sample_files(run_dir, "ema")
    return f"{SAMPLES}/{files[-1][1].name}" if files else ""


def _template_values(description: Description, run: RunData | None) -> dict[str, Any]:
    size, channels, points = description.image_size, description.channels, description.makes_points
    image = f"an image of {size.in_words} pixels with {channels} channel{'s' * (channels > 1)}"
    network = description.network.name
    return {
        "kind": _samples(description),
        "missing": _missing(description),
        "method": "Wasserstein GAN" if run and run.config.loss == "wasserstein" else "GAN",
        "output": f"a point of {channels} dimension{'s' * (channels > 1)}" if points else image,
        "sampled": f"float32 [16, {channels}]" if points else f"uint8 [16, {size.height}, {size.width}, {channels}]",
        "own_class": f", generator={network!r}" if is_own_class(network) else "",
        "facts": _training_facts(description, run),
        "snippet": _onnx_snippet(description),
        "papers": _papers(run.config if run else None),
    }


def build_card(description: Description, run: RunData | None, picture: str, graph: str = "") -> ModelCard:
    """Return the model card of a generator. Raises UserError for a damaged description.

    Args:
        description: The description in the generator file.
        run: The run that trained the generator, whose settings and metrics the card states, or None.
        picture: The path of a picture of samples, relative to the card; empty for none.
        graph: The precision of a generator.onnx beside the card that takes the place of the generator file; empty for
            none.
    """
    try:
        title = _plain(description.description) or f"GAN of {_plain(description.data)}"
        metrics = _metrics(run, description)
        license, license_name = _license_fields(description.license)
        metadata = ModelCardData(
            license=license,
            license_name=license_name,
            library_name=LIBRARY,
            pipeline_tag=_task(description),
            tags=_tags(description, run, graph),
            datasets=[DATASETS[description.data]] if description.data in DATASETS else None,
            model_name=title,
            # No metric was measured on the quantised graph.
            eval_results=(_eval_results(metrics, description) if graph != "int8" else None) or None,
        )
        values = _template_values(description, run) | _class_values(description, run)
        values |= {"title": title, "metrics": metrics}
    except (TypeError, ValueError, KeyError, AttributeError) as error:  # any text may stand in a file
        raise UserError(f"the description of the generator is damaged: {error}") from error
    values |= {"picture": urllib.parse.quote(picture), "graph": graph, "mark": MARK, "escape": _escape}
    return ModelCard.from_template(metadata, template_path=str(TEMPLATE), **values)


def card_text(path: Path, picture: str | None = None, weights: str = "ema", graph: str = "") -> str:
    """Return the model card of a run folder or a generator file, as the content of a README.md.

    Raises UserError for a run or file that cannot be read.

    Args:
        path: A run folder, or a generator.safetensors anywhere.
        picture: As in `build_card`; None for the newest samples of the run.
        weights: The weights of the run that the card describes, `ema` or `raw`.
        graph: As in `build_card`.
    """
    run = read_run(path, path.resolve().name) if is_run(path) else None
    description = generator_file.describe(generator_file.locate(str(path), weights))
    if picture is None:
        picture = _newest_sample(path) if run else ""
    return str(build_card(description, run, picture, graph))


def _is_replaceable(path: Path) -> bool:
    """Return whether there is no file of this path, or one that wgan_dist wrote."""
    try:
        return MARK.encode() in read_file(path, MAX_TEXT_BYTES)
    except FileNotFoundError:
        return True
    except OSError:  # a folder, a pipe, or more than a text
        return False


def save_card(folder: Path, text: str) -> Path | None:
    """Write a card as README.md of `folder`, unless there is one that wgan_dist did not write; return its path or None.

    Raises UserError if the file cannot be written.
    """
    path = folder / CARD_FILE
    if not _is_replaceable(path):
        return None
    write_text(path, f"{text.rstrip()}\n")
    return path


def write_card(path: Path) -> Path | None:
    """Write the model card of a run folder, or of a generator.safetensors, as README.md beside the generator.

    Returns the path of the card, or None if there is a README.md that wgan_dist did not write, which is kept.
    Raises UserError for a run or file that cannot be read, and if the card cannot be written.
    """
    if path.is_dir() and not is_run(path):
        raise UserError(f"ckpt={path}: expected a run folder or a generator.safetensors")
    return save_card(path if path.is_dir() else path.parent, card_text(path))
