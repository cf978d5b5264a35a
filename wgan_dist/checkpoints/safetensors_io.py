"""Named tensors ↔ the bytes of a safetensors file, and into a network."""

import hashlib
import json
from collections.abc import Iterator
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from wgan_dist.utils.errors import UserError

# What safetensors calls the types, in its order of them in a file.
KINDS = {
    torch.uint64: "U64",
    torch.int64: "I64",
    torch.float64: "F64",
    torch.complex64: "C64",
    torch.float32: "F32",
    torch.uint32: "U32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.uint16: "U16",
    torch.int16: "I16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
# The values begin at a multiple of it.
ALIGNMENT = 8
# Read at a time.
BLOCK = 1 << 20


def _values(tensor: Tensor) -> memoryview:
    """As they lie in a file: row by row, in host memory, which is copied if they do not lie so already."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _header(tensors: dict[str, Tensor], metadata: dict[str, str] | None) -> bytes:
    about: dict[str, object] = {} if metadata is None else {"__metadata__": metadata}
    end = 0
    for name, value in tensors.items():
        start, end = end, end + value.nbytes
        about[name] = {"dtype": KINDS[value.dtype], "shape": list(value.shape), "data_offsets": [start, end]}
    text = json.dumps(about, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % ALIGNMENT)
    return len(text).to_bytes(8, "little") + text


def header(file: BinaryIO) -> dict[str, Any]:
    """What a safetensors file says of its tensors; the file is left where their values begin."""
    file.seek(0)
    about: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return about


def pieces(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> Iterator[bytes | memoryview]:
    """A safetensors file's content, one tensor at a time, as the library writes it: its own writer copies all of them
    twice, or chooses the file's name and rights. The same tensors and at most one metadata key give the same bytes.

    Raises UserError for a tensor of a type that is not in KINDS.
    """
    for name, value in tensors.items():
        if value.dtype not in KINDS:
            raise UserError(f"{name} is of {value.dtype}: expected one of {', '.join(map(str, KINDS))}")
    order = list(KINDS)
    ordered = dict(sorted(tensors.items(), key=lambda item: (order.index(item[1].dtype), item[0].encode())))
    yield _header(ordered, metadata)
    yield from map(_values, ordered.values())


def to_bytes(tensors: dict[str, Tensor], metadata: dict[str, str] | None = None) -> bytes:
    """What `pieces` gives, in one."""
    return b"".join(pieces(tensors, metadata))


def digest(tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of names, types, shapes and values: safetensors itself loads a flipped bit without a word."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        value = tensors[name]
        total.update(f"{name} {value.dtype} {list(value.shape)} ".encode())
        total.update(_values(value))
    return total.hexdigest()


def stored_digest(file: BinaryIO) -> str:
    """As `digest`, of the tensors of a safetensors file that `pieces` gave, a block of it at a time."""
    about, total = header(file), hashlib.sha256()
    about.pop("__metadata__", None)
    dtypes, base = {kind: dtype for dtype, kind in KINDS.items()}, file.tell()
    for name in sorted(about):
        kind, shape, (start, end) = about[name]["dtype"], about[name]["shape"], about[name]["data_offsets"]
        total.update(f"{name} {dtypes[kind]} {shape} ".encode())
        file.seek(base + start)
        for begun in range(start, end, BLOCK):
            total.update(file.read(min(BLOCK, end - begun)))
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
