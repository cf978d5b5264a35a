"""The model card: what a stranger should know of a generator, as a README.md whose head the Hub reads."""

import html
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from wgan_dist.checkpoints import generator_file
from wgan_dist.checkpoints.best import BEST_FILE
from wgan_dist.checkpoints.generator_file import Description
from wgan_dist.checkpoints.run_dir import SAMPLES
from wgan_dist.config import Config, command_line, is_run
from wgan_dist.config.fields import from_flags, setting, show
from wgan_dist.models.registry import is_own_class
from wgan_dist.reporting.runs import Run, read_run
from wgan_dist.tracking.metric_names import METRICS
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import write_text

USAGE = """
Write the model card of a run or of a generator file, README.md beside it; training does so at its end.

  python -m wgan_dist.model_card --ckpt=runs/0001   again, with what was measured since
"""
CARD_FILE = "README.md"
TEMPLATE = Path(__file__).with_suffix(".md")
LIBRARY, TASK = "wgan_dist", "unconditional-image-generation"
MARK = "<!-- Written by wgan_dist. Take this line out and it will never be written over. -->"
# Licences that the Hub knows by the SPDX name in lower case; others go by their name.
LICENSES = {
    *("apache-2.0", "mit", "cc0-1.0", "bsd-2-clause", "bsd-3-clause", "gpl-2.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0"),
    *(f"cc-by{terms}-4.0" for terms in ("", "-sa", "-nc", "-nd", "-nc-sa", "-nc-nd")),
    *("mpl-2.0", "isc", "unlicense", "pddl", "odbl", "odc-by"),
}
# Data sets by the names they have here, and on the Hub.
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
}
PENALTIES = {
    "gp": "Gulrajani et al.: Improved Training of Wasserstein GANs. NIPS 2017",
    "lp": "Petzka, Fischer, Lukovnikov: On the Regularization of Wasserstein GANs. ICLR 2018",
    "r1": "Mescheder, Geiger, Nowozin: Which Training Methods for GANs do actually Converge? ICML 2018",
    "dragan": "Kodali et al.: On Convergence and Stability of GANs. 2017",
}
SPECTRAL = "Miyato et al.: Spectral Normalization for Generative Adversarial Networks. ICLR 2018"
DRAWS = {
    "normal": "rng.standard_normal((16, {dim}), dtype=np.float32)",
    "uniform": "rng.uniform(-1, 1, (16, {dim})).astype(np.float32)",
}
SNIPPET = """import numpy as np, onnxruntime
rng, session = np.random.default_rng(0), onnxruntime.InferenceSession("generator.onnx")
z = {z}
samples = session.run(None, {{"z": z}})[0]  # float32 {shape}"""
PIXELS = """ in [-1, 1]
pixels = ((samples + 1) * 127.5).round().clip(0, 255).astype(np.uint8).transpose(0, 2, 3, 1)"""


@dataclass(frozen=True)
class CardSettings:
    """What the command line is told."""

    ckpt: str = setting("", "run folder or generator.safetensors")


@dataclass(frozen=True)
class CardFigure:
    """One measured value, of which file, how and against which data; `own` if of the very generator of the card."""

    metric: str
    value: float
    of: str
    protocol: str
    data: str
    own: bool


def _plain(text: Any) -> str:
    """Words of a stranger on one line, so that they cannot be Markdown, HTML or the end of a table's cell."""
    line = html.escape(" ".join(str(text).split()), quote=False)
    return "".join(f"\\{letter}" if letter in "\\`*_[]|#" else letter for letter in line)


def _measured(run: Run, about: Description) -> list[CardFigure]:
    """By `python -m wgan_dist.evaluate`."""
    return [
        CardFigure(
            each.metric,
            each.value,
            each.source + ("" if each.step is None else f", step {each.step:,}"),
            f"{each.protocol}; data: {each.data}",
            each.data,
            each.source == generator_file.EMA_FILE and each.step == about.steps,
        )
        for each in run.figures
    ]


def _recorded(run: Run, about: Description) -> list[CardFigure]:
    """While it trained, at the last measurement."""
    last = next((record for record in reversed(run.records) if record.keys() & METRICS.keys()), None)
    if last is None:
        return []
    step, count = int(last["step"]), run.config.evaluation_images
    protocol = f"recorded in training, evaluation_images={count:,}"
    of = f"averaged weights, step {step:,}"
    return [
        CardFigure(name, last[name], of, protocol, about.data, step == about.steps) for name in METRICS if name in last
    ]


def _best(run: Run, about: Description) -> list[CardFigure]:
    try:
        found = json.loads((run.folder / BEST_FILE).read_bytes())
        step = int(found["step"])
        of = f"best.safetensors, step {step:,}"
        value, protocol = float(found["value"]), str(found["protocol"])
        return [CardFigure(str(found["metric"]), value, of, protocol, about.data, step == about.steps)]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _figures(run: Run | None, about: Description) -> list[CardFigure]:
    """All that was measured of a run; what is its own is so of the averaged weights alone."""
    if run is None:
        return []
    told = [*_measured(run, about), *_best(run, about)]
    known = {each.metric for each in told if each.own}
    found = told + [each for each in _recorded(run, about) if not (each.own and each.metric in known)]
    return [each for each in found if math.isfinite(each.value)]


def _results(figures: list[CardFigure], about: Description) -> list[EvalResult]:
    """Of the card's generator alone, one for a metric: the first, which says most of how it was measured."""
    own = {each.metric: each for each in reversed(figures) if each.own and about.weights == "ema"}
    return [
        EvalResult(
            task_type="other" if about.makes_points else TASK,
            dataset_type=DATASETS.get(each.data, each.data),
            dataset_name=each.data,
            metric_type=each.metric,
            metric_value=each.value,
            metric_args={"protocol": each.protocol},
        )
        for each in own.values()
    ]


def _licence(name: str) -> tuple[str | None, str | None]:
    """The metadata `license` and `license_name` of an SPDX name."""
    if not name:
        return None, None
    return (name.lower(), None) if name.lower() in LICENSES else ("other", name)


def _tags(about: Description, run: Run | None, graph: str) -> list[str]:
    """What is known: a generator alone does not say how it was trained."""
    wasserstein = run is not None and run.config.loss == "wasserstein"
    penalised = wasserstein and run is not None and run.config.penalty == "gp"
    known = {"wgan": wasserstein, "wgan-gp": penalised, "onnx": bool(graph), TASK: not about.makes_points}
    return ["gan", *(tag for tag, holds in known.items() if holds)]


def _head(title: str, figures: list[CardFigure], about: Description, run: Run | None, graph: str) -> ModelCardData:
    results = [] if graph == "int8" else _results(figures, about)  # nothing was measured of whole numbers
    license, license_name = _licence(about.license)
    return ModelCardData(
        license=license,
        license_name=license_name,
        library_name=LIBRARY,
        pipeline_tag=None if about.makes_points else TASK,
        tags=_tags(about, run, graph),
        datasets=[DATASETS[about.data]] if about.data in DATASETS else None,
        model_name=title,
        eval_results=results or None,
    )


def _method(config: Config) -> str:
    weight = f", weight {config.gp_weight:g}" if config.penalty in PENALTIES else ""
    clip = f", bound {config.clip_value:g}" if config.penalty == "clip" else ""
    return f"loss {config.loss}, penalty {config.penalty}{weight}{clip}, spectral norm: {config.spectral_norm}"


def _optimizer(config: Config) -> str:
    betas = f" with betas {show(config.betas)}" if config.optimizer == "adam" else ""
    return f"{config.optimizer}{betas}; learning rates: critic {config.critic_lr:g}, generator {config.generator_lr:g}"


def _facts(about: Description, run: Run | None) -> list[tuple[str, str]]:
    spec = about.network
    features = spec.arguments["features"]
    width = "" if features is None else f", {features} features"
    facts = [
        ("Data", about.data),
        ("Network", f"{spec.name}{width}, norm {spec.arguments['norm']}"),
        ("Latent vector", f"{about.latent_dim} numbers, {about.latent_distribution}"),
        ("Weights", "averaged over training (EMA)" if about.weights == "ema" else "as after the last step"),
        ("Length", f"{about.steps:,} generator steps; the critic saw {about.seen_images:,} real examples"),
        ("Licence", about.license or "not stated"),
    ]
    if run:
        config = run.config
        facts[2:2] = [
            ("Recipe", Path(config.recipe).name or "none"),
            ("Method", _method(config)),
            ("Schedule", f"{config.n_critic} critic iterations a generator step, batches of {config.batch_size}"),
            ("Optimizers", _optimizer(config)),
            ("Averaging", f"decay {config.ema_decay:g}"),
            ("Seed", show(config.seed)),
        ]
    return [(name, _plain(value)) for name, value in [*facts, ("Written by", f"wgan_dist {about.package_version}")]]


def _papers(config: Config | None) -> list[str]:
    if config is None:
        return []
    found = [LOSSES.get(config.loss), PENALTIES.get(config.penalty)]
    return [*(each for each in found if each), *([SPECTRAL] if config.spectral_norm != "none" else [])]


def _snippet(about: Description) -> str:
    shape = [16, *about.network.sample_shape]
    z = DRAWS[about.latent_distribution].format(dim=about.latent_dim)
    return SNIPPET.format(z=z, shape=shape) + ("" if about.makes_points else PIXELS)


def _newest_sample(run_dir: Path) -> str:
    found = sorted((run_dir / SAMPLES).glob("step-*-ema.png"))
    return f"{SAMPLES}/{found[-1].name}" if found else ""


def _parts(about: Description, run: Run | None) -> dict[str, Any]:
    size = about.image_size
    image = f"an image of {size}×{size} pixels with {about.channels} channel{'s' * (about.channels > 1)}"
    own = is_own_class(about.network.name)
    return {
        "kind": "points" if about.makes_points else "images",
        "method": "Wasserstein GAN" if run and run.config.loss == "wasserstein" else "GAN",
        "output": "a point of the plane" if about.makes_points else image,
        "sampled": "float32 [16, 2]" if about.makes_points else f"uint8 [16, {size}, {size}, {about.channels}]",
        "neighbours": "their distances" if about.makes_points else "`python -m wgan_dist.report` shows them",
        "own_class": f", generator={about.network.name!r}" if own else "",
        "facts": _facts(about, run),
        "snippet": _snippet(about),
        "papers": _papers(run.config if run else None),
    }


def card(about: Description, run: Run | None, picture: str, graph: str = "") -> ModelCard:
    """The model card of a generator, with the settings and figures of its run, where that is known.

    `picture` is the path of a grid of samples as seen from the card, "" for none; `graph` the precision of a
    generator.onnx that lies beside the card in place of the generator itself. The head is YAML as the Hub has it,
    its figures those of this very generator. Raises UserError for a description that makes no sense.
    """
    try:
        title = " ".join(about.description.split()) or f"GAN of {about.data}"
        figures = _figures(run, about)
        parts = _parts(about, run) | {"title": _plain(title), "figures": figures, "picture": picture, "graph": graph}
        head = _head(title, figures, about, run, graph)
    except (TypeError, ValueError, KeyError, AttributeError) as error:  # a file says what it likes of itself
        raise UserError(f"the description of the generator is damaged: {error}") from error
    return ModelCard.from_template(head, template_path=str(TEMPLATE), mark=MARK, plain=_plain, **parts)


def card_text(place: Path, picture: str | None = None, weights: str = "ema", graph: str = "") -> str:
    """The model card of a run folder, or of a generator.safetensors that lies anywhere, as the text of a README.md.

    `picture` and `graph` as in `card`, but None is the run's newest picture; `weights`, ema or raw, are those of a run
    that the card is about. Raises UserError for a run or file that cannot be read.
    """
    run = read_run(place, place.resolve().name) if place.is_dir() and is_run(place) else None
    about = generator_file.describe(generator_file.locate(str(place), weights))
    if picture is None:
        picture = _newest_sample(place) if run else ""
    return str(card(about, run, picture, graph))


def save_card(folder: Path, text: str) -> Path | None:
    """Write a card as README.md of `folder`, whole or not at all; None where there is one that is not ours to replace.

    Raises UserError when the disk is full, read-only or not permitted.
    """
    path = folder / CARD_FILE
    if path.is_dir() or path.exists() and MARK not in path.read_text(encoding="utf-8", errors="replace"):
        return None
    write_text(path, f"{text.rstrip()}\n")
    return path


def write_card(place: Path) -> Path | None:
    """Write the card of a run folder, or of a generator.safetensors, beside it; as `card_text` and `save_card`."""
    if place.is_dir() and not is_run(place):
        raise UserError(f"ckpt={place}: expected a run folder or a generator.safetensors")
    return save_card(place if place.is_dir() else place.parent, card_text(place))


def main(flags: dict[str, str]) -> None:
    """What the command line does."""
    settings = from_flags(CardSettings, flags)
    if not settings.ckpt:
        raise UserError("ckpt: expected --ckpt=, a run folder or a generator.safetensors")
    place = Path(settings.ckpt)
    written = write_card(place)
    if written is None:
        raise UserError(f"ckpt={place}: the {CARD_FILE} beside it was not written by wgan_dist, and is kept")
    print(written)


if __name__ == "__main__":
    command_line.run(main, CardSettings, USAGE)
