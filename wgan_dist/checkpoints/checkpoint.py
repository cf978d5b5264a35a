"""Durable folders with everything a resumed run needs: whole or absent, verified before use."""

import hashlib
import io
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from torch.optim import Optimizer

from wgan_dist.checkpoints.run_dir import checkpoint_position
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import PARTIAL_SUFFIX, atomic_folder, remove_folder

MANIFEST = "manifest.json"
# A few files' names; no honest one comes near.
MANIFEST_LIMIT = 1 << 20
DAMAGED_SUFFIX = ".damaged"


def _entry(file: BinaryIO) -> dict[str, Any]:
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
    return {"bytes": file.seek(0, os.SEEK_END), "sha256": digest}


def _entry_of(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return _entry(file)


def _manifest(entries: dict[str, dict[str, Any]]) -> bytes:
    return json.dumps(entries, indent=1, sort_keys=True).encode()


def _folders(checkpoints: Path) -> list[Path]:
    """Checkpoint folders, oldest first."""
    places = {folder: checkpoint_position(folder.name) for folder in checkpoints.glob("*")}
    return [folder for _, folder in sorted((place, folder) for folder, place in places.items() if place)]


class Draft:
    """A checkpoint whose content the system has, under another name, but perhaps not the disk: it keeps what the files
    are to hold, so that nobody has to keep a copy until the slow part is done. One at a time: to finish one removes
    what is left of others.

    Its methods raise UserError naming the folder when the disk is full, read-only or not permitted.
    """

    def __init__(self, folder: Path, files: Iterable[tuple[str, Iterable[bytes | memoryview]]]) -> None:
        """Write the files, by name their content in pieces, each of which is asked for when the one before is written.

        What is written is as it was then.
        """
        self.folder = folder
        with ExitStack() as stack:
            self._partial = stack.enter_context(atomic_folder(folder))
            self._sizes = {}
            for name, pieces in files:
                with (self._partial / name).open("wb") as file:
                    file.writelines(pieces)
                    self._sizes[name] = file.tell()
            self._rest = stack.pop_all()

    def finish(
        self, keep: int, spared: Collection[str] = (), complete: Callable[[Path], None] = lambda folder: None
    ) -> None:
        """Bring all to the disk, under the folder's name, after `complete` was given the folder as it is named now.

        Older checkpoints beyond the newest `keep` go once it is safe, but for those named in `spared`.
        """
        with self._rest:
            complete(self._partial)
            entries = {name: _entry_of(self._partial / name) for name in self._sizes}
            for name, size in self._sizes.items():
                if entries[name]["bytes"] != size:
                    raise OSError(f"{name} has {entries[name]['bytes']} bytes, {size} were written")
            (self._partial / MANIFEST).write_bytes(_manifest(entries))
        # What a killed process left goes too: there is one writer, and it has just finished.
        for old in _folders(self.folder.parent)[:-keep]:
            if old.name not in spared:
                remove_folder(old)
        for left in self.folder.parent.glob(f".*{PARTIAL_SUFFIX}"):
            shutil.rmtree(left, ignore_errors=True)


def _content(folder: Path, name: str, size: int | None = None) -> bytes:
    """A file of a checkpoint. A manifest may come from a stranger: it names no other place, and no device."""
    path = folder / name
    status = path.lstat()
    if path.name != name or not stat.S_ISREG(status.st_mode):
        raise ValueError(f"{name!r} is not a file in it")
    if status.st_size != (min(status.st_size, MANIFEST_LIMIT) if size is None else size):
        raise ValueError(f"{name} has {status.st_size} bytes, {size or 'too many'} were expected")
    return path.read_bytes()


def read(folder: Path) -> dict[str, bytes]:
    """The files of a checkpoint, each held against the manifest; raises UserError naming what is wrong."""
    try:
        stored = _content(folder, MANIFEST)
        manifest = json.loads(stored)
        files = {name: _content(folder, name, manifest[name]["bytes"]) for name in manifest}
        entries = {name: _entry(io.BytesIO(content)) for name, content in files.items()}
        wrong = [name for name in manifest if entries[name]["sha256"] != manifest[name]["sha256"]]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"checkpoint {folder}: damaged: {error}") from error
    # Written out again, the manifest must be what it is: so its own damage shows as well.
    if wrong or stored != _manifest(entries):
        raise UserError(f"checkpoint {folder}: damaged: {', '.join(wrong) or MANIFEST} is not as it was written")
    return files


def part(files: dict[str, bytes], name: str, folder: Path) -> bytes:
    """One file of a checkpoint that was read; raises UserError if it has none of that name."""
    if name not in files:
        raise UserError(f"checkpoint {folder}: damaged: there is no {name}")
    return files[name]


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


def _fit(optimizer: Optimizer) -> None:
    """Check shapes, which torch itself would do in the next step, in the words of a kernel; and lay every value out in
    memory as its parameter is: fused kernels pass over both side by side, and do not ask."""
    for parameter, values in optimizer.state.items():
        for key, value in values.items():
            if key == "step":
                continue
            if value.shape != parameter.shape:
                raise UserError(f"the state of an optimizer of other networks: {key} {list(value.shape)}")
            values[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def load_optimizer_state(optimizer: Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> None:
    """The inverse of optimizer_state, after its groups went through JSON.

    Raises UserError when it is not the state of such an optimizer.
    """
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for name, value in tensors.items():
            number, key = name.split(".", 1)
            state.setdefault(int(number), {})[key] = value
        groups = [{key: tuple(value) if key == "betas" else value for key, value in group.items()} for group in groups]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"the state of an optimizer of other networks, or damaged: {error}") from error
    _fit(optimizer)
