"""Folders that are handed on whole: a generator's graph with all that goes with it, and a checksum of each file."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from export.network import FP32, GeneratorSettings
from export.onnx import OnnxSettings, write_onnx
from export.sampler import Sampler, SamplerError
from wgan_dist.config.fields import setting
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import atomic_folder

GRAPH = "generator.onnx"
SUMS = "SHA256SUMS"
ACCEPTED = "expected a new name, an empty folder, or one that this command wrote and nobody has changed since"


@dataclass(frozen=True)
class FolderSettings(GeneratorSettings):
    """What the commands that write such a folder are told."""

    ckpt: str = setting("", "run folder, checkpoint, generator.safetensors, or a file written by export.onnx")
    out: str = setting("", "folder to write")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _sums(folder: Path) -> str:
    """The lines that `sha256sum -c` reads, of every file but their own."""
    return "".join(f"{_digest(path)}  {path.name}\n" for path in sorted(folder.iterdir()) if path.name != SUMS)


def _is_replaceable(folder: Path, mark: str) -> bool:
    """Whether a folder is empty, or holds `mark` and exactly the files that were written into it."""
    if not any(folder.iterdir()):
        return True
    if not (folder / SUMS).is_file() or not all(path.is_file() for path in folder.iterdir()):
        return False
    return (folder / mark).is_file() and (folder / SUMS).read_bytes() == _sums(folder).encode()


def _check(folder: Path, mark: str) -> None:
    if folder.exists() and not (folder.is_dir() and _is_replaceable(folder, mark)):
        raise UserError(f"out={folder}: exists and would be lost; {ACCEPTED}")


@contextmanager
def _aside(folder: Path) -> Iterator[None]:
    """Take a folder that is to be replaced out of the way; it comes back if the block fails."""
    if not folder.exists():
        yield
        return
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)  # of a killed process
    folder.rename(old)
    try:
        yield
    except BaseException:
        old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def handed_on(out: str, mark: str) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends well it gets its checksums and becomes `out`.

    A folder of the same kind, told by its file `mark`, is replaced if nobody has changed it since it was written;
    raises UserError for any other that is not empty, and when the disk does not let it be written.
    """
    if not out:
        raise UserError("out: expected --out=, the folder to write")
    folder = Path(out).resolve()
    _check(folder, mark)
    with contextlib.ExitStack() as replaced, atomic_folder(folder) as partial:
        yield partial
        (partial / SUMS).write_text(_sums(partial), encoding="utf-8")
        replaced.enter_context(_aside(folder))


def _exported(settings: FolderSettings, path: Path, precision: str) -> str:
    of = OnnxSettings(settings.ckpt, str(path), settings.weights, settings.generator, precision=precision)
    return write_onnx(of)[1]


def _copied(source: Path, path: Path) -> str:
    try:
        shutil.copyfile(source, path)
    except OSError as error:
        raise UserError(f"ckpt={source}: cannot be read: {error.strerror}") from error
    return f"copied from {source}"


def is_graph(ckpt: str) -> bool:
    """Whether `ckpt` is a graph file already, rather than a run or a generator."""
    return Path(ckpt).suffix.lower() == ".onnx" and not Path(ckpt).is_dir()


@contextmanager
def as_user_errors(settings: FolderSettings, path: Path) -> Iterator[None]:
    """What the sampler of the graph at `path` refuses becomes a UserError of one line that names `settings.ckpt`."""
    try:
        yield
    except SamplerError as error:
        reason = " ".join(str(error).removeprefix(f"{path}: ").split())
        raise UserError(f"ckpt={settings.ckpt}: {reason}") from error


def write_graph(settings: FolderSettings, folder: Path, precision: str = FP32) -> tuple[Sampler, str]:
    """Write the generator as an ONNX file into `folder`; an ONNX file is copied as it is.

    Returns the sampler of it, and the words for where it came from or how equal it is.

    Raises UserError when there is no generator, it is not written by export.onnx, or it makes points.
    """
    path = folder / GRAPH
    words = _copied(Path(settings.ckpt), path) if is_graph(settings.ckpt) else _exported(settings, path, precision)
    with as_user_errors(settings, path):
        sampler = Sampler(path, provider="cpu", threads=1)
    if sampler.makes_points:
        raise UserError(f"ckpt={settings.ckpt}: this generator makes points; expected one of images")
    return sampler, words
