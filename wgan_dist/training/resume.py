"""Resume a run: find its newest checkpoint, check that it belongs to the same run, and restore every value."""

import shlex
from pathlib import Path

from wgan_dist import distributed
from wgan_dist.checkpoints.checkpoint import LoadedCheckpoint, TrainingObjects
from wgan_dist.checkpoints.checkpoint_folders import checkpoint_folders, newest_checkpoint
from wgan_dist.checkpoints.run_dir import CHECKPOINTS
from wgan_dist.checkpoints.state_file import SavedState
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.config import Config, differences
from wgan_dist.config.config import NO_LABELS
from wgan_dist.training.schedule import Schedule
from wgan_dist.utils.errors import UserError

# With any of them changed, the weights of a run do not fit.
NETWORK_SETTINGS = {
    "image_size",
    "channels",
    "generator",
    "critic",
    "generator_features",
    "critic_features",
    "generator_norm",
    "critic_norm",
    "generator_labels",
    "critic_labels",
    "spectral_norm",
    "latent_dim",
}


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
    if state.critic_iteration >= schedule.critic_iterations(state.step):
        raise UserError(f"resume: {state.critic_iteration} critic iterations within step {state.step}: there are fewer")
    changed = differences(config, saved.config)
    names = {line.partition("=")[0] for line in changed}
    instead = _instead(config, saved, names)
    if "max_steps" in names:
        instead = f"The learning rates decay over max_steps. {instead}"
    if changed:
        settings = "; ".join(changed)
        raise UserError(f"resume: settings that decide the result differ from the run's: {settings}. {instead}")
    if saved.data_fingerprint != data_fingerprint:
        content = "images" if config.labels == NO_LABELS else "images or their classes"
        images = f"data={','.join(config.data)}: its {content} are not those the run began with"
        raise UserError(f"resume: {images}. {instead}")


def _instead(config: Config, saved: SavedState, changed: set[str]) -> str:
    """Return the sentence that says how to train with changed settings or data, from the run's weights if these fit."""
    is_conditional, was_conditional = (labels != NO_LABELS for labels in (config.labels, saved.config["labels"]))
    if changed & NETWORK_SETTINGS or is_conditional != was_conditional:
        return "They need another run, with another --run_dir, since its weights do not fit"
    return f"To start another run from its weights: --init_from={shlex.quote(config.run_dir)} and another --run_dir"
