"""Named tensors ↔ the bytes of a safetensors file, and into a network."""

import hashlib

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from wgan_dist.errors import UserError


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors in host memory, contiguous, no two in one storage: safetensors refuses others."""
    plain, taken = {}, set()
    for name, value in tensors.items():
        value = value.detach().cpu().contiguous()
        if value.untyped_storage().data_ptr() in taken:
            value = value.clone()
        taken.add(value.untyped_storage().data_ptr())
        plain[name] = value
    return plain


def to_bytes(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """A safetensors file's content; the same tensors and at most one metadata key give the same bytes."""
    return safetensors.torch.save(_apart(tensors), metadata)


def copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The values as they are now, in host memory, whatever becomes of the tensors."""
    plain = torch.contiguous_format  # as they go into a file: another copy to turn them around would be one more
    return {name: value.detach().to("cpu", copy=True, memory_format=plain) for name, value in tensors.items()}


def digest(tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of names, types, shapes and values: safetensors itself loads a flipped bit without a word."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def from_bytes(content: bytes, source: str) -> dict[str, Tensor]:
    """The tensors of a safetensors file's content; raises UserError naming `source` if it is none."""
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{source}: not a safetensors file, or damaged: {error}") from error


def load_into(network: nn.Module, content: bytes, source: str) -> None:
    """Copy the weights of a safetensors file's content into `network`, keeping its dtype and device.

    Raises UserError naming `source` unless names and shapes are the network's own.
    """
    copy_into(network, from_bytes(content, source), source)


def copy_into(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Copy `state` into `network`, keeping its dtype and device.

    Raises UserError naming `source` unless names and shapes are the network's own.
    """
    check_fits(network, state, source)
    network.load_state_dict(state)


def check_fits(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Raises UserError naming `source` unless the names and shapes of `state` are the network's own."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if expected != found:
        name, shape = sorted(set(expected.items()) ^ set(found.items()))[0]
        raise UserError(f"{source}: weights of another network: {name} {list(shape)} is on one side only")
