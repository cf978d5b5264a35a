"""Start a run from the weights of another run, or of a generator file."""

from pathlib import Path

from wgan_dist import distributed
from wgan_dist.checkpoints import generator_file, safetensors_io
from wgan_dist.checkpoints.checkpoint import CRITIC_FILE, LoadedCheckpoint, TrainingObjects
from wgan_dist.checkpoints.checkpoint_folders import checkpoint_folders, newest_checkpoint
from wgan_dist.checkpoints.generator_file import RAW_FILE
from wgan_dist.checkpoints.run_dir import CHECKPOINTS, no_checkpoint_yet
from wgan_dist.config import CONFIG_FILE, Config, is_run
from wgan_dist.data.labels import named
from wgan_dist.models.registry import NetworkSpec
from wgan_dist.training.ema import EMAGenerator
from wgan_dist.utils.errors import UserError


def init_from(
    source: Path,
    config: Config,
    spec: NetworkSpec,
    classes: tuple[str, ...],
    objects: TrainingObjects,
    ema: EMAGenerator,
) -> str:
    """Take the weights of another run (its folder or a checkpoint) or of a generator file, and return which.

    Weights of a class go to the class of the same number. The text says so where their names in `classes`, those of
    this run, are others.

    Raises:
        UserError: If there are none, or if they belong to networks of another shape.
    """
    taken, theirs = _init_generator(source, config, objects) if source.is_file() else _init_both(source, spec, objects)
    ema.restart()
    return taken + _renamed_classes(theirs, classes)


def _renamed_classes(theirs: tuple[str, ...], ours: tuple[str, ...]) -> str:
    """Return which names of classes differ, or "" if all are equal."""
    renamed = [f"{old} becomes {new}" for old, new in zip(theirs, ours, strict=False) if old != new]
    return f"; the classes there have other names or another order: {named(renamed)}" if renamed else ""


def _init_generator(source: Path, config: Config, objects: TrainingObjects) -> tuple[str, tuple[str, ...]]:
    if config.freeze_critic:
        raise UserError(
            f"freeze_critic={config.freeze_critic}: {source} holds no critic; expected a run or a checkpoint"
        )
    loaded = generator_file.load(source, config.generator)
    distribution = loaded.description.latent_distribution
    if distribution != config.latent_distribution:
        raise UserError(f"latent_distribution={config.latent_distribution}: {source} was trained with {distribution}")
    safetensors_io.copy_into(objects.generator, loaded.network.state_dict(), str(source))
    taken = f"generator of {source}; its critic is not in the file and starts with new weights"
    return taken, loaded.description.classes


def _init_both(source: Path, spec: NetworkSpec, objects: TrainingObjects) -> tuple[str, tuple[str, ...]]:
    def find() -> Path:
        if (source / CRITIC_FILE).exists():
            return source
        if not source.is_dir():
            raise UserError(f"init_from={source}: there is no such file or folder")
        if is_run(source) and not checkpoint_folders(source / CHECKPOINTS):
            raise UserError(f"init_from={source}: {no_checkpoint_yet(source)}")
        return newest_checkpoint(source / CHECKPOINTS, set_aside=False)

    folder: Path = distributed.broadcast_from_main(find)  # the source may be running, and save another meanwhile
    checkpoint, theirs = LoadedCheckpoint(folder), generator_file.describe(folder / RAW_FILE)
    try:
        checkpoint.restore_networks(objects)
    except UserError as error:
        hint = f"--recipe={source}/{CONFIG_FILE} takes its settings" if is_run(source) else ""
        networks = f"The generator there is {theirs.network}; here it is {spec}"
        raise UserError("; ".join(filter(None, [f"{error}. {networks}", hint]))) from error
    return f"generator and critic of {folder}", theirs.classes
