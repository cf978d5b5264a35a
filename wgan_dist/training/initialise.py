"""The beginning of a run: resume from a checkpoint, or start from the weights of another run or a generator file."""

from pathlib import Path

from wgan_dist import distributed
from wgan_dist.checkpoints import generator_file, safetensors_io
from wgan_dist.checkpoints.checkpoint import CRITIC_FILE, LoadedCheckpoint, TrainingObjects
from wgan_dist.checkpoints.generator_file import RAW_FILE
from wgan_dist.checkpoints.manifest import checkpoint_folders, newest_checkpoint
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.checkpoints.state_file import SavedState
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.config import Config, differences
from wgan_dist.models.registry import NetworkSpec
from wgan_dist.training.ema import EMAGenerator
from wgan_dist.training.schedule import Schedule
from wgan_dist.utils.errors import UserError


def find_checkpoint(config: Config) -> Path | None:
    """Return the checkpoint to resume from on every process, or None for a run that starts.

    Raises:
        UserError: If --resume asks for one and there is none.
    """
    checkpoints = Path(config.run_dir) / CHECKPOINTS

    def find() -> Path | None:
        if config.resume == "false":
            return None
        if checkpoint_folders(checkpoints):
            return newest_checkpoint(checkpoints, set_aside=not config.dry_run)
        if config.resume == "auto":
            return None
        raise UserError(f"run_dir={config.run_dir}: nothing was saved yet; --resume=auto starts it again")

    folder: Path | None = distributed.broadcast_from_main(find)
    return folder


def resume(
    folder: Path, config: Config, data_fingerprint: str, schedule: Schedule, objects: TrainingObjects
) -> TrainState:
    """Restore a run from a checkpoint folder and return where it is.

    Raises:
        UserError: If the checkpoint is damaged, was written by a newer version, or belongs to a run with other data
            or with other settings that affect the result.
    """
    checkpoint = LoadedCheckpoint(folder)
    saved = checkpoint.saved_state()
    _check_same_run(saved, config, data_fingerprint, schedule)
    checkpoint.restore(objects, saved)
    return saved.state


def _check_same_run(saved: SavedState, config: Config, data_fingerprint: str, schedule: Schedule) -> None:
    state = saved.state
    if state.step > schedule.max_steps:
        raise UserError(f"max_steps={config.max_steps}: the run is at step {state.step} already")
    if state.critic_iteration >= schedule.n_critic(state.step):
        raise UserError(f"resume: {state.critic_iteration} critic iterations within step {state.step}: there are fewer")
    changed = differences(config, saved.config)
    if changed:
        raise UserError(f"resume: settings that decide the result differ from the run's: {'; '.join(changed)}")
    if saved.data_fingerprint != data_fingerprint:
        raise UserError(f"resume: data={','.join(config.data)}: its images are not those the run began with")


def init_from(source: Path, config: Config, spec: NetworkSpec, objects: TrainingObjects, ema: EMAGenerator) -> str:
    """Take the weights of another run (its folder or a checkpoint) or of a generator file, and return which.

    Raises:
        UserError: If there are none, or if they belong to networks of another shape.
    """
    taken = _init_generator(source, config, objects) if source.is_file() else _init_both(source, spec, objects)
    ema.restart()
    return taken


def _init_generator(source: Path, config: Config, objects: TrainingObjects) -> str:
    loaded = generator_file.load(source, config.generator)
    distribution = loaded.description.latent_distribution
    if distribution != config.latent_distribution:
        raise UserError(f"latent_distribution={config.latent_distribution}: {source} was trained with {distribution}")
    safetensors_io.copy_into(objects.generator, loaded.network.state_dict(), str(source))
    return f"generator of {source}; its critic is not in the file and starts with new weights"


def _init_both(source: Path, spec: NetworkSpec, objects: TrainingObjects) -> str:
    def find() -> Path:
        if (source / CRITIC_FILE).exists():
            return source
        if not source.is_dir():
            raise UserError(f"init_from={source}: there is no such file or folder")
        return newest_checkpoint(source / CHECKPOINTS, set_aside=False)

    folder: Path = distributed.broadcast_from_main(find)  # the source may be running, and save another meanwhile
    checkpoint = LoadedCheckpoint(folder)
    try:
        checkpoint.restore_networks(objects)
    except UserError as error:
        theirs = generator_file.describe(folder / RAW_FILE).network
        raise UserError(f"{error}. The generator there is {theirs}; here it is {spec}") from error
    return f"generator and critic of {folder}"
