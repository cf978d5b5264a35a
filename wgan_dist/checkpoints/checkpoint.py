"""The training checkpoint: what it holds, how it is taken, written, verified and restored."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn
from torch.optim import Optimizer

from wgan_dist.checkpoints import generator_file, safetensors_io, state_file
from wgan_dist.checkpoints.generator_file import EMA_FILE, RAW_FILE, Description
from wgan_dist.checkpoints.manifest import read_folder, write_folder
from wgan_dist.checkpoints.optimizer_state import load_optimizer_state, optimizer_state
from wgan_dist.checkpoints.run_dir import checkpoint_name
from wgan_dist.checkpoints.state_file import STATE_FILE, SavedState
from wgan_dist.checkpoints.train_state import AugmentationState, GradScalerState, TrainState
from wgan_dist.utils.errors import UserError

CRITIC_FILE = "critic.safetensors"


class HasGradScalerState(Protocol):
    """A gradient scaler that can be saved and restored."""

    def state(self) -> GradScalerState:
        """Return its state."""

    def load(self, state: GradScalerState) -> None:
        """Restore its state."""


class HasAugmentationState(Protocol):
    """Adaptive augmentation that can be saved and restored."""

    def state(self) -> AugmentationState:
        """Return its state."""

    def load(self, state: AugmentationState) -> None:
        """Restore its state."""


@dataclass(frozen=True)
class TrainingObjects:
    """The objects whose values a checkpoint saves and restores; optimizers and scalers by network name.

    `augmentation` is None unless it is adaptive.

    The training package builds them; this package does not import it.
    """

    generator: nn.Module
    ema_generator: nn.Module
    critic: nn.Module
    optimizers: Mapping[str, Optimizer]
    grad_scalers: Mapping[str, HasGradScalerState]
    augmentation: HasAugmentationState | None = None


@dataclass(frozen=True)
class Snapshot:
    """Copies of all values of a checkpoint in host memory; training may go on while they are written."""

    name: str
    generators: dict[str, tuple[dict[str, Tensor], Description]]
    tensors: dict[str, dict[str, Tensor]]
    state: bytes


def optimizer_file(network: str) -> str:
    """Return the name of the file with the optimizer state of a network."""
    return f"{network}_optimizer.safetensors"


def take_snapshot(
    objects: TrainingObjects,
    state: TrainState,
    config: dict[str, Any],
    data_fingerprint: str,
    descriptions: dict[str, Description],
) -> Snapshot:
    """Copy everything that a resumed run needs; `descriptions` of the generators by their file names."""
    copy = safetensors_io.copy_to_host
    networks = {EMA_FILE: objects.ema_generator, RAW_FILE: objects.generator}
    tensors, groups = {CRITIC_FILE: copy(objects.critic.state_dict())}, {}
    for name, optimizer in objects.optimizers.items():
        values, groups[name] = optimizer_state(optimizer)
        tensors[optimizer_file(name)] = copy(values)
    scalers = {name: scaler.state() for name, scaler in objects.grad_scalers.items()}
    augmentation = objects.augmentation.state() if objects.augmentation else None
    saved = SavedState(state, config, data_fingerprint, scalers, groups, augmentation)
    return Snapshot(
        name=checkpoint_name(state.step, state.critic_iteration),
        generators={file: (copy(network.state_dict()), descriptions[file]) for file, network in networks.items()},
        tensors=tensors,
        state=state_file.to_bytes(saved),
    )


def write_checkpoint(checkpoints: Path, snapshot: Snapshot) -> Path:
    """Write a snapshot as a folder of `checkpoints`, whole or not at all.

    Raises:
        UserError: Naming the folder when the disk is full, read-only or not permitted.
    """
    folder = checkpoints / snapshot.name
    write_folder(folder, _files(snapshot))
    return folder


def _files(snapshot: Snapshot) -> Iterator[tuple[str, bytes]]:
    for name, generator in snapshot.generators.items():
        yield name, generator_file.to_bytes(*generator)
    for name, tensors in snapshot.tensors.items():
        yield name, safetensors_io.to_bytes(tensors)
    yield STATE_FILE, snapshot.state


class LoadedCheckpoint:
    """The verified files of a checkpoint folder.

    Its methods raise UserError naming the folder for a missing file, or values that do not fit.
    """

    def __init__(self, folder: Path) -> None:
        """Read and verify the folder; raise UserError if it is damaged."""
        self.folder = folder
        self.files = read_folder(folder)

    def _file(self, name: str) -> bytes:
        if name not in self.files:
            raise UserError(f"checkpoint {self.folder}: damaged: there is no {name}")
        return self.files[name]

    def saved_state(self) -> SavedState:
        """Return everything that is not a tensor."""
        return state_file.from_bytes(self._file(STATE_FILE), str(self.folder))

    def restore_networks(self, objects: TrainingObjects) -> None:
        """Restore the weights of generator and critic."""
        for network, file in ((objects.generator, RAW_FILE), (objects.critic, CRITIC_FILE)):
            safetensors_io.load_into(network, self._file(file), str(self.folder / file))

    def restore(self, objects: TrainingObjects, saved: SavedState) -> None:
        """Restore every value of the run."""
        self.restore_networks(objects)
        safetensors_io.load_into(objects.ema_generator, self._file(EMA_FILE), str(self.folder / EMA_FILE))
        for name, optimizer in objects.optimizers.items():
            source = f"{self.folder}: {optimizer_file(name)}"
            tensors = safetensors_io.from_bytes(self._file(optimizer_file(name)), source)
            load_optimizer_state(optimizer, tensors, saved.optimizer_groups[name], source)
        for name, scaler in objects.grad_scalers.items():
            scaler.load(saved.grad_scalers[name])
        if objects.augmentation:
            if saved.augmentation is None:
                raise UserError(f"checkpoint {self.folder}: damaged: there is no state of the augmentation")
            objects.augmentation.load(saved.augmentation)
