"""Durable folders with everything a resumed run needs: whole or absent, verified before use."""

import hashlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from wgan_dist.errors import UserError
from wgan_dist.files import PARTIAL_SUFFIX, whole_folder

MANIFEST = "manifest.json"
PREFIX = "step-"
DAMAGED_SUFFIX = ".damaged"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _manifest(files: dict[str, bytes]) -> bytes:
    entries = {name: {"bytes": len(content), "sha256": _sha256(content)} for name, content in files.items()}
    return json.dumps(entries, indent=1, sort_keys=True).encode()


def _folders(checkpoints: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    found = [folder for folder in checkpoints.glob(f"{PREFIX}*") if folder.name.removeprefix(PREFIX).isdecimal()]
    return sorted(found, key=lambda folder: int(folder.name.removeprefix(PREFIX)))


def save(checkpoints: Path, step: int, files: dict[str, bytes], keep: int) -> Path:
    """Write `files` as the checkpoint of `step`; older ones beyond the newest `keep` go once it is safe.

    Raises UserError naming the folder when the disk is full, read-only or not permitted.
    """
    folder = checkpoints / f"{PREFIX}{step:08d}"
    with whole_folder(folder) as partial:
        for name, content in files.items():
            (partial / name).write_bytes(content)
        (partial / MANIFEST).write_bytes(_manifest(files))
    # What a killed process left goes too: there is one writer, and it has just finished.
    for old in [*_folders(checkpoints)[:-keep], *checkpoints.glob(f".*{PARTIAL_SUFFIX}")]:
        shutil.rmtree(old, ignore_errors=True)
    return folder


def read(folder: Path) -> dict[str, bytes]:
    """The files of a checkpoint, each held against the manifest; raises UserError naming what is wrong."""
    try:
        stored = (folder / MANIFEST).read_bytes()
        manifest = json.loads(stored)
        files = {name: (folder / name).read_bytes() for name in manifest}
        wrong = [name for name in manifest if _sha256(files[name]) != manifest[name]["sha256"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"checkpoint {folder}: damaged: {error}") from error
    # Written out again, the manifest must be what it is: so its own damage shows as well.
    if wrong or stored != _manifest(files):
        raise UserError(f"checkpoint {folder}: damaged: {', '.join(wrong) or MANIFEST} is not as it was written")
    return files


def _set_aside(folder: Path) -> None:
    number = len(list(folder.parent.glob(f"{folder.name}{DAMAGED_SUFFIX}*")))
    aside = folder.with_name(f"{folder.name}{DAMAGED_SUFFIX}{f'-{number + 1}' if number else ''}")
    try:
        folder.rename(aside)
    except OSError as error:
        raise UserError(f"{folder}: damaged, and cannot be set aside: {error.strerror}") from error
    print(f"kept as {aside}", file=sys.stderr)


def any_in(checkpoints: Path) -> bool:
    """Whether there is a checkpoint folder, damaged or not."""
    return bool(_folders(checkpoints))


def newest(checkpoints: Path, set_aside: bool) -> Path:
    """The newest undamaged checkpoint folder; damaged newer ones are named, and renamed if `set_aside`.

    Nothing is ever deleted. Raises UserError when there is none.
    """
    for folder in reversed(_folders(checkpoints)):
        try:
            read(folder)
            return folder
        except UserError as reason:
            print(f"{reason}; trying an older one", file=sys.stderr)
            if set_aside:
                _set_aside(folder)
    raise UserError(f"{checkpoints}: there is no complete checkpoint")


def optimizer_state(optimizer: Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """An optimizer's state as tensors named `number.key`, and its groups as plain values."""
    state = optimizer.state_dict()
    tensors = {
        f"{number}.{key}": torch.as_tensor(value)
        for number, each in state["state"].items()
        for key, value in each.items()
    }
    return tensors, state["param_groups"]


def load_optimizer_state(optimizer: Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> None:
    """The inverse of optimizer_state, after its groups went through JSON."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    groups = [{key: tuple(value) if key == "betas" else value for key, value in group.items()} for group in groups]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
