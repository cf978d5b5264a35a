"""The settings of a run, in one frozen dataclass."""

import functools
import re
from dataclasses import dataclass, fields
from typing import Any

from wgan_dist.config.fields import parse_float, parse_whole_number, setting
from wgan_dist.config.image_size import ImageSize, parse_image_size, square
from wgan_dist.config.metric_choices import BEST_METRICS, full_name, parse_metrics

# The names in wgan_dist.losses; --help and a recipe need them without torch.
LOSSES = ("wasserstein", "bce", "hinge", "relativistic")
PENALTIES = ("gp", "lp", "r1", "r1r2", "dragan", "clip", "none")
AUGMENTATIONS = ("none", "diffaugment", "adaptive")
# The groups of operations of an augmentation, in the order in which they are applied.
AUGMENT_POLICY = ("colour", "translation", "cutout")
RESIZES = ("crop", "pad", "stretch", "none")
LEVELS = ("default", "auto", "robust")
RESUME = ("true", "false", "auto")
# How the networks take the class of an image.
NO_LABELS, AUTO_LABELS = "none", "auto"
GENERATOR_LABELS = ("auto", "norm", "embedding")
CRITIC_LABELS = ("projection", "acgan", "concat")
# The greatest sizes, of settings and of generator files. They are allocated as they are asked for.
MAX_LATENT_DIM, MAX_FEATURES, MAX_CHANNELS, MAX_CLASSES = 1 << 16, 1 << 16, 1 << 10, 10_000
MAX_BATCH, MAX_GRID_IMAGES, MAX_PROCESSES, MAX_EVALUATED = 1 << 20, 1 << 12, 1 << 10, 10**7
MAX_SECONDS = 10**8
_UNIT = re.compile(r"\s*(step|epoch)s?$")


def parse_duration(value: Any) -> int | str:
    """Return a number of generator steps as an int, or epochs as a text such as `3epoch`.

    `10k` is 10000, `2 epochs` is `2epoch`.

    Raises:
        ValueError: For anything else; the message says what is accepted.
    """
    text = str(value).strip().lower()
    try:
        number = parse_whole_number(_UNIT.sub("", text))
    except ValueError:
        number = -1
    if number < 0:
        raise ValueError("a number of generator steps, such as 500 or 10k, or of epochs, such as 2epoch")
    return f"{number}epoch" if text.rstrip("s").endswith("epoch") else number


def in_steps(duration: int | str, steps_per_epoch: int) -> int:
    """Return a duration as a number of generator steps."""
    return duration if isinstance(duration, int) else int(duration.removesuffix("epoch")) * steps_per_epoch


def parse_levels(value: Any) -> str | tuple[float, float]:
    """Return the name of a choice of levels, or two levels, the lower one first.

    Raises:
        ValueError: For anything else; the message says what is accepted.
    """
    if str(value).lower() in LEVELS:
        return str(value).lower()
    try:
        low, high = (parse_float(part) for part in (value.split(",") if isinstance(value, str) else value))
    except (ValueError, TypeError):
        low = high = 0.0
    if low >= high:
        raise ValueError(f"{', '.join(LEVELS)}, or two numbers such as 0,4095, the lower one first")
    return low, high


def parse_background(value: Any) -> str:
    """Return a colour as six lower-case hexadecimal digits.

    Raises:
        ValueError: For anything else; the message says what is accepted.
    """
    digits = str(value).lower().removeprefix("#")
    if not re.fullmatch("[0-9a-f]{6}", digits):
        raise ValueError("a colour as six hexadecimal digits, such as ffffff")
    return digits


def parse_resume(value: Any) -> str:
    """Return true, false or auto.

    Raises:
        ValueError: For anything else, such as a folder; the message says what is accepted.
    """
    if (text := str(value).lower()) not in RESUME:
        raise ValueError("true, false or auto; the folder of the run is named by --run_dir")
    return text


# A setting that a resumed run may change: it affects no result beyond rounding, or what it names is compared otherwise,
# as the content of the data is.
operational = functools.partial(setting, affects_result=False)


@dataclass(frozen=True)
class Config:
    """The settings of a run. Each is a flag (`--name=value`) and a key of a YAML recipe.

    Durations (max_steps, *_every, patience) are numbers of generator steps, or epochs such as `1epoch`; 0 turns a
    periodic action off. Batch sizes are global, over all processes.
    """

    recipe: str = operational("", "Recipe, by name or YAML file; digits if --data is not given.", group="Start a run")
    run_dir: str = operational("", "Folder of the run; by default runs/0001, 0002, ….", saved=False)
    resume: str = operational(
        "false",
        "Continue the run in --run_dir; auto continues it if there is one.",
        choices=RESUME,
        saved=False,
        parse=parse_resume,
    )
    init_from: str = operational("", "Run, checkpoint or generator.safetensors with initial weights.")
    seed: int = setting(0, "Seed of all random numbers.", least=0, below=2**63)
    max_steps: int | str = operational(100_000, "Length of the run, in steps or epochs.", parse=parse_duration)
    dry_run: bool = operational(False, "Check settings, data and networks without training.", saved=False)

    data: tuple[str, ...] = operational(
        ("digits",),
        "Folder, archive, shards, hf:NAME or data set name; several are merged: a/,b.zip.",
        group="Choose the data",
    )
    image_size: ImageSize = setting(
        square(64), "Size in pixels: 64, or HEIGHTxWIDTH such as 48x96.", parse=parse_image_size
    )
    resize: str = setting(
        "crop", "How images get this size: crop, pad, stretch, or none to require it.", choices=RESIZES
    )
    channels: int | None = setting(
        None, "1 for grey, 3 for RGB, 4 for RGBA; auto follows the data.", least=1, below=MAX_CHANNELS + 1
    )
    levels: str | tuple[float, float] = setting(
        "default",
        "Values that become -1 and 1: LOW,HIGH; auto for each channel's range; robust for its 0.1 and 99.9 % "
        "quantiles. By default the whole range of integers, and auto for other numbers.",
        parse=parse_levels,
    )
    axes: str = setting("auto", "Order of the axes of arrays.", choices=("auto", "nchw", "nhwc"))
    channel_names: tuple[str, ...] = operational((), "Names of the channels; stored in the generator.")
    unit: str = operational("", "Unit of the values, such as K; stored in the generator.")
    labels: str = setting(
        NO_LABELS,
        "Classes of the images, for a conditional generator: auto finds them, or name a CSV file with the columns file "
        "and label, or the column of a data set.",
    )
    class_balance: bool = setting(False, "Draw real images evenly over their classes.")
    background: str = setting("ffffff", "Colour behind transparent pixels.", parse=parse_background)
    flip: bool = setting(False, "Mirror each real image left to right with probability 1/2.")
    skip_bad_images: bool = operational(False, "Skip unreadable images instead of stopping.")
    cache_dir: str = operational("~/.cache/wgan_dist", "Folder of decoded and downloaded images.", saved=False)
    workers: int = operational(0, "Data loading processes per rank.", least=0, below=MAX_PROCESSES + 1)
    holdout: float = setting(0.0, "Share of the images that is kept out of training.", least=0, below=1)

    generator: str = setting("dcgan", "Generator name, or module:Class of a custom one.", group="Choose the networks")
    critic: str = setting("dcgan", "Critic name, or module:Class; lipschitz is 1-Lipschitz by construction.")
    generator_features: int | None = setting(
        None, "Width of the generator; auto is the network's default.", least=1, below=MAX_FEATURES + 1
    )
    critic_features: int | None = setting(
        None, "Width of the critic; auto is the network's default.", least=1, below=MAX_FEATURES + 1
    )
    generator_norm: str = setting(
        "auto",
        "Norm layers of the generator; auto is the network's default.",
        choices=("auto", "batch", "instance", "none"),
    )
    critic_norm: str = setting(
        "auto",
        "Norm layers of the critic; auto is the network's default.",
        choices=("auto", "batch", "instance", "layer", "none"),
    )
    generator_labels: str = setting(
        "auto",
        "How the generator takes a class: class-conditional BatchNorm (norm) or an embedding joined to z; auto is norm "
        "where there is BatchNorm.",
        choices=GENERATOR_LABELS,
    )
    critic_labels: str = setting(
        "projection",
        "How the critic takes a class: projection, an auxiliary classifier (acgan), or a label map joined to the image "
        "(concat).",
        choices=CRITIC_LABELS,
    )
    spectral_norm: str = setting("none", "Where to use spectral norm.", choices=("none", "critic", "generator", "both"))
    latent_dim: int = setting(128, "Length of the latent vector z.", least=1, below=MAX_LATENT_DIM + 1)
    latent_distribution: str = setting(
        "normal", "Distribution of z: N(0, 1) or U[-1, 1).", choices=("normal", "uniform")
    )

    loss: str = setting("wasserstein", "Adversarial loss.", choices=LOSSES, group="Choose the method")
    batch_size: int = setting(64, "Real images per critic iteration, over all processes.", least=1, below=MAX_BATCH + 1)
    generator_batch_size: int | None = setting(
        None, "Latents per generator step; auto is batch_size.", least=1, below=MAX_BATCH + 1
    )
    real_batch_per: str = setting(
        "critic", "Draw a new real batch per critic iteration or per generator step.", choices=("critic", "generator")
    )
    accumulation: int = setting(
        1, "Micro-batches per batch, to save memory; BatchNorm and spectral norm see each by itself.", least=1
    )
    n_critic: int = setting(5, "Critic iterations per generator step.", least=1)
    critic_warmup: bool = setting(False, "Use 100 critic iterations in the first 25 steps and every 500th.")
    reuse_latents: bool = setting(False, "Train the generator on the latents of the last critic iteration.")
    penalty: str = setting(
        "gp",
        "Gradient penalty: two-sided (gp), one-sided (lp), on real images (r1), on real and generated ones (r1r2), "
        "around real ones (dragan); or clip weights. With any of these, W is scaled by the critic's unknown "
        "Lipschitz constant and bounds no distance; --critic=lipschitz needs none.",
        choices=PENALTIES,
    )
    gp_weight: float = setting(10.0, "Weight of the gradient penalty: λ, or γ for r1 and r1r2.", above=0)
    penalty_every: int = setting(
        1, "Compute the gradient penalty only in every N-th critic iteration, with N times its weight.", least=1
    )
    critic_class_weight: float = setting(
        1.0, "Weight of the classification of real images in the critic's loss with acgan.", above=0
    )
    generator_class_weight: float = setting(
        0.1, "Weight of the classification of generated images in the generator's loss with acgan.", above=0
    )
    dragan_std: float = setting(0.25, "Standard deviation of dragan's noise, for images in [-1, 1].", above=0)
    clip_value: float = setting(0.01, "Bound of the critic's weights with --penalty=clip.", above=0)
    augment: str = setting(
        "none",
        "Change colours, shift and cut out all images that the critic sees (diffaugment), or only as many as keep it "
        "from overfitting (adaptive): for few images.",
        choices=AUGMENTATIONS,
    )
    augment_policy: tuple[str, ...] = setting(AUGMENT_POLICY, "Which changes --augment makes.", choices=AUGMENT_POLICY)
    freeze_critic: int = setting(0, "First layers of the critic that keep the weights of --init_from.", least=0)
    optimizer: str = setting("adam", "Optimizer of both networks.", choices=("adam", "rmsprop"))
    betas: tuple[float, float] = setting((0.0, 0.9), "Adam's β₁ and β₂.", least=0, below=1)
    adam_eps: float = setting(1e-8, "Adam's ε.", above=0)
    critic_lr: float = setting(1e-4, "Learning rate of the critic.", above=0)
    generator_lr: float = setting(1e-4, "Learning rate of the generator.", above=0)
    lr_decay: str = setting(
        "none", "Decay of both learning rates, to zero at max_steps.", choices=("none", "linear", "cosine")
    )
    lr_decay_start: float = setting(0.0, "Share of the run before the learning rates decay.", least=0, below=1)
    ema_decay: float = setting(0.999, "Decay of the generator's moving average; 0 for none.", least=0, below=1)
    ema_half_life: int | None = setting(
        None,
        "Half-life of the moving average in images, batch_size for each generator step; instead of ema_decay.",
        least=1,
    )

    dtype: str = setting(
        "float32",
        "Floating-point type of weights and data.",
        choices=("float32", "float64"),
        group="Set precision and speed",
    )
    mixed_precision: str = setting(
        "auto", "Type for autocast; auto follows the launcher.", choices=("auto", "no", "bf16", "fp16")
    )
    max_skipped: int = operational(
        50, "Consecutive updates skipped for non-finite gradients before the run stops.", least=1
    )
    threads: int | None = operational(
        None, "CPU threads per process; auto shares the cores.", least=1, below=MAX_PROCESSES + 1
    )
    deterministic: bool = operational(False, "Make GPU runs repeatable to the bit, without TF32; slower.")
    tf32: bool = setting(
        False, "Multiply float32 matrices in TF32 on a GPU, as convolutions are: 10 bits of precision."
    )
    fast_ops: bool = operational(
        True, "Train with this package's convolution and normalisation kernels; false uses torch's own."
    )
    compile: bool = setting(False, "Compile the losses with torch.compile.")
    cuda_graphs: bool = operational(False, "Replay each compiled step on a GPU as a CUDA graph; one process only.")
    profile: int = operational(
        0, "Steps to profile, after two warm-up steps, into a table and a trace.", least=0, saved=False
    )
    timeout: int = operational(1800, "Seconds to wait for other processes.", least=1, below=MAX_SECONDS + 1)

    log_every: int | str = operational(
        50, "Steps or epochs between metrics.", parse=parse_duration, group="Log, sample and save"
    )
    sample_every: int | str = operational(500, "Steps or epochs between sample grids.", parse=parse_duration)
    grid_images: int = operational(
        64, "Images in a grid; their latents stay the same.", least=1, below=MAX_GRID_IMAGES + 1
    )
    checkpoint_every: int | str = operational(1000, "Steps or epochs between checkpoints.", parse=parse_duration)
    keep_checkpoints: int = operational(3, "Newest checkpoints to keep.", least=1)
    weight_histograms: bool = operational(False, "Log weight histograms to TensorBoard.")
    trackers: tuple[str, ...] = operational((), "More trackers of accelerate, such as wandb,mlflow.")

    evaluate_every: int | str = operational(
        0,
        "Steps or epochs between evaluations of the averaged generator; 0 for none.",
        parse=parse_duration,
        group="Evaluate",
    )
    certify_every: int | str = operational(
        0,
        "Steps or epochs between certified estimates: the distance of the averaged generator from held-out samples, as "
        "a small 1-Lipschitz critic sees it, which is trained on the side; 0 for none.",
        parse=parse_duration,
    )
    metrics: tuple[str, ...] | None = operational(
        None,
        "Metrics with commas: swd, nn, diversity, spectrum, fid, kid, is, pr, frechet, kernel, class_frechet, "
        "accuracy, or full names; auto is all that are available, except spectrum for 8-bit images.",
        parse=parse_metrics,
    )
    evaluation_images: int = operational(
        1024, "Generated and real images to compare.", least=2, below=MAX_EVALUATED + 1
    )
    feature_extractor: str = operational(
        "", "Extractor for frechet, kernel and class_frechet: ONNX, or TorchScript, a program."
    )
    classifier: str = operational("", "Classifier of the classes for accuracy: ONNX, or TorchScript, a program.")
    inception_weights: str = operational("", "File of Inception's weights; by default torch-fidelity's.")
    best_metric: str = operational(
        "auto", "Metric that chooses best.safetensors.", choices=BEST_METRICS, parse=full_name
    )
    early_stop: str = operational(
        "no",
        "Stop when best_metric (best) or the held-out Wasserstein estimate (holdout) stops improving.",
        choices=("no", "best", "holdout"),
    )
    patience: int | str = operational(5000, "Steps or epochs without improvement to wait.", parse=parse_duration)

    description: str = operational("", "What the images show; stored in the generator.", group="Describe the generator")
    license: str = operational("", "SPDX name of the generator's licence; stored in the generator.")


# The settings that belong to one start of a run on one machine. A saved config leaves them out, so that it is a recipe
# too, and no file may contain them: a stranger's must not choose the folder of a run, or a cache of forged images.
UNSAVED = tuple(field.name for field in fields(Config) if not field.metadata["saved"])
