"""Every setting of a run in one frozen dataclass; recipe + flags → Config, with errors that name the setting."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from wgan_dist.config.fields import AUTO, setting, show, typed_values, unknown_name
from wgan_dist.config.metric_choices import BEST_METRICS, parse_metrics
from wgan_dist.utils.errors import UserError

RECIPES = Path(__file__).parent / "recipes"
# Lines of a recipe that are for people: what it trains by, where that is from, what to expect.
RECIPE_NOTES = ("method", "source", "expect")
DEFAULT_RECIPE = "digits"
CONFIG_FILE = "config.yaml"
EPOCH_SUFFIX = "epoch"
# Characters; the longest recipe has a thousand or two.
RECIPE_LIMIT = 1 << 16
RECIPE_DEPTH = 8


def parse_duration(value: Any) -> int | str:
    """Generator steps as a whole number, or epochs as `3epoch`; raises ValueError otherwise."""
    text = str(value).strip().lower()
    digits = text.removesuffix(EPOCH_SUFFIX) if text.endswith(EPOCH_SUFFIX) else text
    if isinstance(value, bool) or not digits.isdecimal():
        raise ValueError("a number of generator steps, as 500, or of epochs, as 1epoch")
    return text if text.endswith(EPOCH_SUFFIX) else int(text)


def in_steps(duration: int | str, steps_per_epoch: int) -> int:
    """A duration in generator steps."""
    if isinstance(duration, int):
        return duration
    return int(duration.removesuffix(EPOCH_SUFFIX)) * steps_per_epoch


def _parse_resume(value: Any) -> str:
    text = str(value).lower()
    if text not in ("true", "false", "auto"):
        raise ValueError("true, false or auto")
    return text


def _parse_channels(value: Any) -> int | None:
    if value is None or value == AUTO:
        return None
    if str(value) not in ("1", "3", "4"):
        raise ValueError("1, 3, 4 or auto")
    return int(value)


def parse_background(value: Any) -> str:
    """A colour as six hexadecimal digits; raises ValueError with the words for what is accepted."""
    digits = str(value).lower().removeprefix("#")
    if len(digits) != 6 or set(digits) - set("0123456789abcdef"):
        raise ValueError("a colour as six hexadecimal digits, as ffffff")
    return digits


def _parse_trackers(value: Any) -> tuple[str, ...]:
    names = value if isinstance(value, (list, tuple)) else str(value).split(",")
    return tuple(str(name).strip() for name in names if str(name).strip())


def _parse_seed(value: Any) -> int:
    try:
        seed = int(str(value))
    except ValueError:
        raise ValueError("a whole number") from None
    if not 0 <= seed < 2**63:
        raise ValueError("a whole number from 0 to 2^63 - 1")
    return seed


@dataclass(frozen=True)
class Config:
    """The settings of a run. Each is a flag (`--name=value`) and a key of a YAML recipe, under one name.

    Durations (max_steps, *_every) are numbers of generator steps, or epochs as `1epoch`; 0 turns a
    cadence off. Batch sizes are global, over all processes.
    """

    recipe: str = setting("", "recipe name or YAML file; digits if no --data is given", group="run")
    run_dir: str = setting("", "folder of the run; a new numbered one below runs/ if not given")
    resume: str = setting("false", "continue the run in --run_dir; auto: if there is one", parse=_parse_resume)
    init_from: str = setting("", "run or checkpoint folder, or generator.safetensors, whose weights to start from")
    seed: int = setting(0, "seed of every random draw", parse=_parse_seed)
    max_steps: int | str = setting(100_000, "length of the run", parse=parse_duration)
    dry_run: bool = setting(False, "check the settings, the data and the networks, write nothing")

    data: tuple[str, ...] = setting(
        ("digits",), "folder, archive, shards, hf:…, or name; several are merged: a/,b.zip", group="data"
    )
    image_size: int = setting(64, "height and width in pixels; images are resized and centre-cropped", least=1)
    channels: int | None = setting(None, "1 grey, 3 RGB, 4 RGBA; auto: as the data", parse=_parse_channels)
    background: str = setting("ffffff", "colour under transparent pixels", parse=parse_background)
    flip: bool = setting(False, "mirror real images left to right, one in two, drawn anew each time")
    skip_bad_images: bool = setting(False, "leave unreadable files out instead of stopping")
    cache_dir: str = setting("~/.cache/wgan_dist", "folder of decoded and downloaded images")
    workers: int = setting(0, "processes that prepare batches, per rank", least=0)
    holdout: float = setting(
        0.0, "share of the images, chosen by their content, that is never trained on", least=0, below=1
    )

    generator: str = setting("dcgan", "network name, or module:Class of your own", group="networks")
    critic: str = setting("dcgan", "network name, or module:Class of your own")
    generator_features: int | None = setting(None, "width of the generator; auto: the network's own", least=1)
    critic_features: int | None = setting(None, "width of the critic; auto: the network's own", least=1)
    generator_norm: str = setting("auto", "auto: the network's own", choices=("auto", "batch", "instance", "none"))
    critic_norm: str = setting(
        "auto", "auto: the network's own", choices=("auto", "batch", "instance", "layer", "none")
    )
    spectral_norm: str = setting("none", "of every weight of", choices=("none", "critic", "generator", "both"))
    latent_dim: int = setting(128, "length of the latent vector z", least=1)
    latent_distribution: str = setting("normal", "N(0, 1) or U[-1, 1)", choices=("normal", "uniform"))

    loss: str = setting("wasserstein", "of both networks", choices=("wasserstein", "bce", "hinge"), group="method")
    batch_size: int = setting(64, "real images in one critic iteration, over all processes", least=1)
    generator_batch_size: int | None = setting(None, "latents in one generator step; auto: batch_size", least=1)
    real_batch_per: str = setting("critic", "a fresh real batch for each", choices=("critic", "generator"))
    accumulation: int = setting(
        1,
        "micro-batches a batch is computed in, to save memory; BatchNorm and spectral norm see each by itself",
        least=1,
    )
    n_critic: int = setting(5, "critic iterations per generator step", least=1)
    critic_warmup: bool = setting(False, "100 critic iterations for the first 25 steps and every 500th")
    reuse_latents: bool = setting(False, "the generator's step takes the last critic iteration's latents")
    penalty: str = setting(
        "gp",
        "two-sided, one-sided, on real images, around them, clipped weights, none",
        choices=("gp", "lp", "r1", "dragan", "clip", "none"),
    )
    gp_weight: float = setting(10.0, "λ of gp, lp and dragan, γ of r1", above=0)
    dragan_std: float = setting(0.25, "deviation of dragan's noise around real images, in [-1, 1]", above=0)
    clip_value: float = setting(0.01, "bound of the critic's weights under --penalty=clip", above=0)
    optimizer: str = setting("adam", "of both networks", choices=("adam", "rmsprop"))
    betas: tuple[float, float] = setting((0.0, 0.9), "of Adam", least=0, below=1)
    adam_eps: float = setting(1e-8, "of Adam", above=0)
    critic_lr: float = setting(1e-4, "learning rate of the critic", above=0)
    generator_lr: float = setting(1e-4, "learning rate of the generator", above=0)
    lr_decay: str = setting("none", "to zero at max_steps", choices=("none", "linear"))
    ema_decay: float = setting(0.999, "of the averaged generator; 0: no averaging", least=0, below=1)

    dtype: str = setting("float32", "of weights and data", choices=("float32", "float64"), group="arithmetic")
    mixed_precision: str = setting("auto", "auto: as accelerate says", choices=("auto", "no", "bf16", "fp16"))
    max_skipped: int = setting(
        50, "updates in a row left out, since their gradients are not finite, before the run stops", least=1
    )
    threads: int | None = setting(None, "CPU threads of each process; auto: its share of the cores", least=1)
    deterministic: bool = setting(False, "equal bits from equal runs on a GPU too, at some cost of speed")
    tf32: bool = setting(False, "let a GPU round the factors of float32 products to TF32: faster, 10 bits of precision")
    compile: bool = setting(False, "compile the objectives with torch.compile")
    fast_ops: bool = setting(
        True, "Use this package's own convolution and normalisation kernels in training; false: torch's own."
    )
    cuda_graphs: bool = setting(False, "with compile=true on a GPU: one launch for all kernels of a step")
    profile: int = setting(
        0, "steps to record, after two others: where their time goes, as a table and a trace", least=0
    )
    timeout: int = setting(1800, "seconds that a process waits for the others before it gives up", least=1)

    log_every: int | str = setting(50, "record metrics", parse=parse_duration, group="what it leaves behind")
    sample_every: int | str = setting(500, "draw the grid of fixed noise", parse=parse_duration)
    grid_images: int = setting(64, "images in the grid", least=1)
    checkpoint_every: int | str = setting(1000, "save all that resuming needs", parse=parse_duration)
    keep_checkpoints: int = setting(3, "newest checkpoints kept", least=1)
    weight_histograms: bool = setting(False, "weights in TensorBoard, at each grid")
    trackers: tuple[str, ...] = setting(
        (), "metrics also to trackers that accelerate knows, as wandb,mlflow", parse=_parse_trackers
    )

    evaluate_every: int | str = setting(0, "measure the averaged generator", parse=parse_duration, group="evaluation")
    metrics: tuple[str, ...] | None = setting(
        None, "swd,nn,diversity,fid,kid,is,pr,frechet,kernel; auto: all that can be computed here", parse=parse_metrics
    )
    evaluation_images: int = setting(1024, "generated images measured, against as many real ones", least=2)
    feature_extractor: str = setting("", "TorchScript or ONNX file, uint8 images → features, of frechet and kernel")
    inception_weights: str = setting("", "file of Inception's weights; torch-fidelity's cache if not given")
    best_metric: str = setting("auto", "recorded name that chooses best.safetensors", choices=BEST_METRICS)
    early_stop: str = setting(
        "no",
        "when best_metric has not improved, or the held-out Wasserstein estimate was flat, for --patience",
        choices=("no", "best", "holdout"),
    )
    patience: int | str = setting(5000, "of early_stop", parse=parse_duration)

    description: str = setting("", "what the images show; written into the generator", group="about it")
    license: str = setting("", "licence of the trained generator, as an SPDX name; written into the generator")


# Where a run lives and whether it starts: not part of what it is, so a saved config is a recipe too.
UNSAVED = ("run_dir", "resume", "dry_run", "profile")
# May differ between a run and its continuation: none of these reaches the mathematics. The data may
# have moved: its content is compared instead.
FREE_ON_RESUME = (
    *UNSAVED,
    "recipe",
    "init_from",
    "max_steps",
    "data",
    "cache_dir",
    "skip_bad_images",
    "workers",
    "threads",
    "deterministic",
    "fast_ops",
    "cuda_graphs",
    "max_skipped",
    "timeout",
    "log_every",
    "sample_every",
    "grid_images",
    "evaluate_every",
    "metrics",
    "evaluation_images",
    "feature_extractor",
    "inception_weights",
    "best_metric",
    "early_stop",
    "patience",
    "checkpoint_every",
    "keep_checkpoints",
    "weight_histograms",
    "trackers",
    "description",
    "license",
)


def _read_recipe(path: Path) -> str:
    """The text of a recipe; raises ValueError for one made to harm: aliases make gigabytes of a few lines."""
    with path.open(encoding="utf-8") as file:
        text = file.read(RECIPE_LIMIT + 1)
    if len(text) > RECIPE_LIMIT:
        raise ValueError(f"longer than {RECIPE_LIMIT:,} characters")
    depth = 0
    for event in yaml.parse(text, yaml.BaseLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if isinstance(event, yaml.AliasEvent) or depth > RECIPE_DEPTH:
            raise ValueError("settings are texts and lists of them, without aliases")
    return text


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        # Texts alone, as flags are: YAML's own types read `no` as false and 000000 as 0.
        content = yaml.load(_read_recipe(path), yaml.BaseLoader)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if content in (None, ""):
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected lines of the form setting: value")
    return content


def recipe_names() -> list[str]:
    """The recipes that come with the package."""
    return sorted(file.stem for file in RECIPES.glob("*.yaml"))


def _recipe_path(recipe: str) -> Path:
    if recipe.endswith((".yaml", ".yml")):
        return Path(recipe)
    if recipe not in recipe_names():
        raise unknown_name("recipe", recipe, recipe_names())
    return RECIPES / f"{recipe}.yaml"


def _check_method(config: Config) -> None:
    """Losses and constraints that make no sense together."""
    normalised = config.spectral_norm in ("critic", "both")
    if config.loss == "wasserstein" and config.penalty == "none" and not normalised and ":" not in config.critic:
        raise UserError(
            "penalty=none with loss=wasserstein: without a Lipschitz constraint the estimate grows without bound; "
            "expected a penalty, or spectral_norm=critic with critic_norm=none"
        )
    if config.loss != "wasserstein" and config.penalty == "clip":
        raise UserError(f"penalty=clip with loss={config.loss}: clipped weights bound the scores that it must saturate")
    if config.penalty == "clip" and normalised:
        raise UserError(
            f"penalty=clip with spectral_norm={config.spectral_norm}: the size of a normalised weight changes nothing"
        )
    if config.critic_warmup and (config.loss != "wasserstein" or config.real_batch_per == "generator"):
        raise UserError(
            f"critic_warmup=true with loss={config.loss}, real_batch_per={config.real_batch_per}: it brings a "
            "Wasserstein critic near its optimum, on fresh batches; expected loss=wasserstein, real_batch_per=critic"
        )
    if config.critic_norm == "batch" and config.penalty not in ("clip", "none"):
        raise UserError(
            f"critic_norm=batch with penalty={config.penalty}: BatchNorm mixes samples, and the penalty is of each "
            "sample's own gradient; expected instance, layer or none"
        )


def _check_batches(config: Config) -> None:
    for name in ("batch_size", "generator_batch_size"):
        size = getattr(config, name)
        if size is not None and size % config.accumulation:
            raise UserError(f"{name}={size}: expected a multiple of accumulation={config.accumulation}")
    if config.cuda_graphs and not config.compile:
        raise UserError("cuda_graphs=true with compile=false: expected compile=true")
    if config.cuda_graphs and config.accumulation > 1:  # a graph's gradients do not outlive the next replay
        raise UserError(f"cuda_graphs=true with accumulation={config.accumulation}: expected accumulation=1")
    if config.reuse_latents and config.generator_batch_size not in (None, config.batch_size):
        raise UserError(
            f"reuse_latents=true with generator_batch_size={config.generator_batch_size}: "
            f"expected as many as batch_size={config.batch_size}"
        )


def _measures_nothing(config: Config) -> bool:
    return config.evaluate_every in (0, "0epoch")


def _check_early_stop(config: Config) -> None:
    stop = f"early_stop={config.early_stop}"
    if config.early_stop != "no" and _measures_nothing(config):
        raise UserError(f"{stop} with evaluate_every={config.evaluate_every}: it goes by what is measured")
    if config.early_stop == "holdout" and (not config.holdout or config.loss != "wasserstein"):
        raise UserError(
            f"{stop} with holdout={config.holdout:g}, loss={config.loss}: expected images held out, loss=wasserstein"
        )


def _check_evaluation(config: Config) -> None:
    usual = Config()
    if not _measures_nothing(config):
        return
    for name in ("metrics", "best_metric", "feature_extractor", "inception_weights"):
        if getattr(config, name) != getattr(usual, name):
            raise UserError(f"{name} with evaluate_every={config.evaluate_every}: nothing is measured then")


def check_together(config: Config) -> None:
    """Settings that are each fine and make no sense together."""
    if config.dtype == "float64" and config.mixed_precision not in ("auto", "no"):
        raise UserError(f"mixed_precision={config.mixed_precision} with dtype=float64: expected no")
    _check_method(config)
    _check_batches(config)
    _check_early_stop(config)
    _check_evaluation(config)
    if config.resume != "false" and not config.run_dir:
        raise UserError(f"resume={config.resume}: expected --run_dir, the folder of the run to continue")


def is_run(folder: Path) -> bool:
    """Whether a folder holds a run, finished or not."""
    return (folder / CONFIG_FILE).is_file()


def _continues(flags: Mapping[str, Any]) -> bool:
    resume = flags.get("resume", "false")
    return resume == "true" or (resume == "auto" and is_run(Path(flags.get("run_dir", ""))))


def _base_path(recipe: Path, base: str) -> Path:
    try:
        path = recipe.parent / _recipe_path(base)  # an absolute one stays what it is
    except UserError as error:
        raise UserError(f"recipe {recipe}: base={base}: {error}") from None
    if not path.is_file():
        raise UserError(f"recipe {recipe}: base={base}: there is no such file")
    return path


def _lines_over_base(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    lines = _read_yaml(path)
    base = lines.pop("base", None)
    if base is None:
        return lines
    parent = _base_path(path, str(base))
    if parent.resolve() in [each.resolve() for each in (path, *below)]:
        raise UserError(f"recipe {path}: base={base} leads back to itself")
    return _lines_over_base(parent, (*below, path)) | lines


def read_recipe(recipe: str) -> dict[str, Any]:
    """The lines of a recipe, over those of its base: settings, and what RECIPE_NOTES names, as texts.

    A base is a recipe's name, or a YAML file, looked for beside the file that names it. Raises UserError for a
    recipe or base that is not there, bases that name each other, and settings that belong on the command line.
    """
    values = _lines_over_base(_recipe_path(recipe), ())
    misplaced = [name for name in UNSAVED if name in values]
    if misplaced:
        raise UserError(f"recipe {recipe}: {misplaced[0]} is given on the command line, not in a recipe")
    return values


def _recipe_values(flags: Mapping[str, Any]) -> dict[str, Any]:
    if _continues(flags) and flags.get("run_dir"):
        return _read_yaml(Path(flags["run_dir"]) / CONFIG_FILE)
    recipe = flags.get("recipe") or ("" if "data" in flags else DEFAULT_RECIPE)
    if not recipe:
        return {}
    values = read_recipe(recipe)
    return {name: value for name, value in values.items() if name not in RECIPE_NOTES} | {"recipe": recipe}


def load_config(flags: Mapping[str, Any]) -> Config:
    """Defaults, then the recipe (or, on resume, the run's own config), then the flags, as texts or values.

    Raises UserError for an unknown setting, a value of the wrong type or out of bounds, an unreadable
    recipe, and settings that contradict one another.
    """
    given = typed_values(Config, flags)
    try:
        recipe = typed_values(Config, _recipe_values(given))
    except UserError as error:
        source = (_continues(given) and given.get("run_dir")) or given.get("recipe") or DEFAULT_RECIPE
        raise UserError(f"{error} (in {source})" if str(source) not in str(error) else str(error)) from error
    config = Config(**(recipe | given))
    check_together(config)
    return config


def as_dict(config: Config) -> dict[str, Any]:
    """The settings that describe the run, ready for YAML or JSON."""
    values = {name: value for name, value in dataclasses.asdict(config).items() if name not in UNSAVED}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def to_yaml(config: Config) -> str:
    """The saved form of a config; usable as a recipe."""
    values = {name: AUTO if value is None else value for name, value in as_dict(config).items()}
    return str(yaml.safe_dump(values, sort_keys=False))


def summary(config: Config) -> str:
    """The settings that differ from the defaults, on a line."""
    changed = [
        f"{field.name}={show(getattr(config, field.name))}"
        for field in dataclasses.fields(config)
        if getattr(config, field.name) != field.default
    ]
    return " ".join(changed)


def differences(config: Config, saved: Mapping[str, Any]) -> list[str]:
    """Settings that decide the mathematics and differ from those of the run to be continued."""
    before = Config(**typed_values(Config, saved))
    free = set(FREE_ON_RESUME)
    if "linear" in (config.lr_decay, before.lr_decay):
        free.remove("max_steps")  # the learning rate is a function of it
    return [
        f"{field.name}={show(getattr(config, field.name))} (was {show(getattr(before, field.name))})"
        for field in dataclasses.fields(Config)
        if field.name not in free and getattr(config, field.name) != getattr(before, field.name)
    ]
