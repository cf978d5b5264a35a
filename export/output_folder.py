"""Folders that other programs include as they are: a generator as ONNX, files beside it, and a checksum of each."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.onnx_file import write_onnx
from export.sampler import Sampler, SamplerError
from export.settings import FP32, FolderSettings, OnnxSettings
from wgan_dist.utils.console import escape_unprintable
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import MAX_WEIGHT_BYTES, atomic_folder, partial_path, read_file

ONNX_FILE = "generator.onnx"
CHECKSUMS = "SHA256SUMS"
ACCEPTED = "expected a new name, an empty folder, or a folder that this command wrote and nobody has changed since"


def _checksums(folder: Path) -> str:
    """Return the checksum of every file but the checksums themselves, in the format of `sha256sum -c`."""
    paths = sorted(path for path in folder.iterdir() if path.name != CHECKSUMS)
    return "".join(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in paths)


def _is_replaceable(folder: Path, mark: str) -> bool:
    """Return whether a folder is empty, or contains `mark` and exactly the files that were written into it."""
    if not any(folder.iterdir()):
        return True
    if not (folder / CHECKSUMS).is_file() or not all(path.is_file() for path in folder.iterdir()):
        return False
    return (folder / mark).is_file() and (folder / CHECKSUMS).read_bytes() == _checksums(folder).encode()


def _check_replaceable(name: Path, folder: Path, mark: str) -> None:
    """Raise UserError, which calls it `name`, if a folder or file would be lost if it was replaced."""
    if not (folder.is_dir() and _is_replaceable(folder, mark)):
        raise UserError(f"out={name}: exists and would be lost; {ACCEPTED}")


@contextmanager
def _moved_aside(folder: Path, mark: str) -> Iterator[None]:
    """Rename a folder that is about to be replaced; rename it back if the block fails, otherwise delete it."""
    if not folder.exists():
        yield
        return
    old = partial_path(folder)
    folder.rename(old)
    try:
        _check_replaceable(folder, old, mark)  # again, since the export took a while
        yield
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def output_folder(out: str, mark: str) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends without an error, add checksums and rename it to `out`.

    A folder of the same kind, recognised by its file `mark`, is replaced if nobody has changed it since it was written.
    Raises UserError for any other folder that is not empty, and if the disk cannot be written.
    """
    if not out:
        raise UserError("out: expected --out=, the folder to write")
    folder = Path(out).resolve()
    if folder.exists():
        _check_replaceable(folder, folder, mark)
    with contextlib.ExitStack() as replaced, atomic_folder(folder) as partial:
        yield partial
        (partial / CHECKSUMS).write_text(_checksums(partial), encoding="utf-8")
        replaced.enter_context(_moved_aside(folder, mark))


def is_onnx(ckpt: str) -> bool:
    """Return whether `ckpt` names an ONNX file rather than a run or a generator file."""
    return Path(ckpt).suffix.lower() == ".onnx" and not Path(ckpt).is_dir()


@contextmanager
def sampler_errors_name_ckpt(settings: FolderSettings, path: Path) -> Iterator[None]:
    """Turn an error of the sampler of the file at `path` into a UserError of one line that names `settings.ckpt`."""
    try:
        yield
    except SamplerError as error:
        reason = " ".join(str(error).removeprefix(f"{path}: ").split())
        raise UserError(f"ckpt={settings.ckpt}: {reason}") from error


def _copy(source: str, path: Path) -> str:
    try:
        path.write_bytes(read_file(Path(source), MAX_WEIGHT_BYTES))
    except OSError as error:
        raise UserError(f"ckpt={source}: cannot be read: {error.strerror}") from error
    return f"copied from {escape_unprintable(source)}"


def write_generator(settings: FolderSettings, folder: Path, precision: str = FP32) -> tuple[Sampler, str]:
    """Write the generator as an ONNX file into `folder`; an ONNX file is copied as it is.

    Returns its sampler, and its origin or difference from the network in words. Raises UserError if there is no
    generator, or it was not written by export.onnx.
    """
    path = folder / ONNX_FILE
    if is_onnx(settings.ckpt):
        text = _copy(settings.ckpt, path)
    else:
        onnx_settings = OnnxSettings(
            settings.ckpt, str(path), settings.weights, settings.generator, precision=precision
        )
        text = write_onnx(onnx_settings)[1]
    with sampler_errors_name_ckpt(settings, path):
        sampler = Sampler(path, provider="cpu", threads=1)
    return sampler, text
