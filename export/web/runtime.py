"""onnxruntime-web: which files of its npm package a page carries, and where they are had from."""

import base64
import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wgan_dist.data.sources.paths import expand_home
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import write_bytes

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# What npm publishes for this version as its integrity: SHA-512 of the archive, in base 64.
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
ARCHIVE = f"{PACKAGE}-{VERSION}.tgz"
DOWNLOAD_SECONDS = 600
WANTED = f"expected npm (it comes with Node.js), or --runtime=, the dist folder of {PACKAGE} {VERSION}"
BANNER = re.compile(rb"ONNX Runtime Web v([0-9][0-9A-Za-z.-]*)")


@dataclass(frozen=True)
class Variant:
    """One build of the runtime: its module, the module that loads the binary, and the binary, as in dist/."""

    module: str
    loader: str
    binary: str

    @property
    def files(self) -> tuple[str, str, str]:
        return (self.module, self.loader, self.binary)


VARIANTS = {
    "wasm": Variant("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"),
    "webgpu": Variant(
        "ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"
    ),
}


def _check(archive: Path, remedy: str) -> None:
    digest = hashlib.sha512(archive.read_bytes()).digest()
    if base64.b64encode(digest).decode() != INTEGRITY:
        raise UserError(f"{archive}: its SHA-512 is not that of {PACKAGE} {VERSION}; {remedy}")


def _pack(folder: Path) -> Path:
    """The archive as npm has it from its registry, in `folder`."""
    npm = shutil.which("npm")
    if not npm:
        raise UserError(f"{PACKAGE}: npm is not installed and there is no copy in the cache; {WANTED}")
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", f"--pack-destination={folder}"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"{PACKAGE}: npm pack did not end within {DOWNLOAD_SECONDS} s; {WANTED}") from None
    if done.returncode or not (folder / ARCHIVE).is_file():
        said = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise UserError(f"{PACKAGE}: npm pack failed ({said}); {WANTED} and a network")
    return folder / ARCHIVE


def _archive(cache_dir: str) -> Path:
    """The checked archive in the cache, fetched if it is not there yet."""
    cached = expand_home(cache_dir, f"cache_dir={cache_dir}") / ARCHIVE
    if not cached.is_file():
        with tempfile.TemporaryDirectory() as folder:
            fetched = _pack(Path(folder))
            _check(fetched, "nothing of it was kept")
            write_bytes(cached, fetched.read_bytes())
    _check(cached, "remove the file, and it is fetched again")
    return cached


def _from_archive(archive: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    with tarfile.open(archive) as opened:
        members = {name: opened.extractfile(f"package/dist/{name}") for name in names}
        return {name: member.read() for name, member in members.items() if member}


def _from_folder(folder: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    try:
        return {name: (folder / name).read_bytes() for name in names}
    except OSError as error:
        missing = Path(str(error.filename)).name
        raise UserError(
            f"runtime={folder}: expected the dist folder of {PACKAGE}: {missing}: {error.strerror}"
        ) from error


def read(variant: Variant, runtime: str, cache_dir: str) -> dict[str, bytes]:
    """The files of a variant by name: from the folder `runtime` or, if that is empty, from npm's archive in the cache.

    Raises UserError when they cannot be had, or the archive is not the one recorded here.
    """
    if runtime:
        return _from_folder(Path(runtime), variant.files)
    return _from_archive(_archive(cache_dir), variant.files)


def version(module: bytes) -> str:
    """The version that a module of the runtime says it is."""
    found = BANNER.search(module[:1000])
    return found[1].decode() if found else "of unknown version"
