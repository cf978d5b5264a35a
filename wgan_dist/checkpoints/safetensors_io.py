"""Named tensors to and from the bytes of a safetensors file, and into a network."""

import hashlib

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from wgan_dist.utils.errors import UserError
from wgan_dist.utils.finite import is_finite

# The kinds of numbers in which weights may be stored.
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def copy_to_host(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return contiguous copies in host memory, independent of the originals and of each other."""
    return {
        name: tensor.detach().to("cpu", memory_format=torch.contiguous_format, copy=True)
        for name, tensor in tensors.items()
    }


def to_bytes(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """Return the content of a safetensors file with contiguous tensors that share no memory, as of `copy_to_host`.

    The same tensors with at most one metadata key give the same bytes.
    """
    return safetensors.torch.save(tensors, metadata)


def from_bytes(content: bytes, source: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; `source` names it in errors.

    Raises:
        UserError: If the content is not a safetensors file.
    """
    try:
        return safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"{source}: not a safetensors file, or damaged: {error}") from error


def digest(tensors: dict[str, Tensor]) -> str:
    """Return the SHA-256 of names, data types, shapes and values.

    safetensors files carry no checksum of their own: a flipped bit loads without an error.
    """
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
        total.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()


def load_into(network: nn.Module, content: bytes, source: str) -> None:
    """Copy the weights of a safetensors file into `network`, keeping its data type and device.

    Raises:
        UserError: As `copy_into` does.
    """
    copy_into(network, from_bytes(content, source), source)


def copy_into(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Copy `state` into `network`, keeping its data type and device.

    Raises:
        UserError: If names and shapes are not those of the network, and for a value that is not finite there.
    """
    check_fits(network, state, source)
    network.load_state_dict(state)
    # A value that is finite in a wider type may not be so in the type of the network.
    for name, value in network.state_dict().items():
        if not is_finite(value):
            raise UserError(f"{source}: {name} has values that are not finite")


def check_fits(network: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Raise UserError naming `source` unless names, shapes and kinds of numbers in `state` are those of the network."""
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    actual = {name: tuple(value.shape) for name, value in state.items()}
    if expected != actual:
        name, shape = sorted(set(expected.items()) ^ set(actual.items()))[0]
        raise UserError(f"{source}: weights of another network: {name} {list(shape)} is on one side only")
    for name, value in network.state_dict().items():
        found = state[name].dtype
        if found not in FLOATS if value.is_floating_point() else found != value.dtype:
            raise UserError(f"{source}: {name} has numbers of type {found}: expected {value.dtype}")
