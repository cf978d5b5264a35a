"""The files of onnxruntime-web that the page contains, from its npm package."""

import base64
import hashlib
import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from wgan_dist.data.sources.paths import cache_folder, expand_home
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import write_bytes

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
# The integrity that npm publishes for this version: the SHA-512 of the archive in base64.
INTEGRITY = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
ARCHIVE = f"{PACKAGE}-{VERSION}.tgz"
DOWNLOAD_SECONDS = 600
ACCEPTED = f"expected npm (it comes with Node.js), or --runtime=, the dist folder of {PACKAGE} {VERSION}"
BANNER = re.compile(rb"ONNX Runtime Web v([0-9][0-9A-Za-z.-]*)")


@dataclass(frozen=True)
class Variant:
    """The names in dist/ of one build of the runtime: its module, the module that loads the binary, and the binary."""

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
    """Raise UserError unless the archive has the SHA-512 recorded here."""
    digest = hashlib.sha512(archive.read_bytes()).digest()
    if base64.b64encode(digest).decode() != INTEGRITY:
        raise UserError(f"{archive}: its SHA-512 is not that of {PACKAGE} {VERSION}; {remedy}")


def _pack(folder: Path) -> Path:
    """Download the archive from the npm registry into `folder`."""
    npm = shutil.which("npm")
    if not npm:
        raise UserError(f"{PACKAGE}: npm is not installed and there is no copy in the cache; {ACCEPTED}")
    command = [npm, "pack", f"{PACKAGE}@{VERSION}", "--silent", f"--pack-destination={folder}"]
    try:
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DOWNLOAD_SECONDS)
    except subprocess.TimeoutExpired:
        raise UserError(f"{PACKAGE}: npm pack did not finish within {DOWNLOAD_SECONDS} s; {ACCEPTED}") from None
    if result.returncode or not (folder / ARCHIVE).is_file():
        reason = (result.stderr.strip() or f"exit status {result.returncode}").splitlines()[-1]
        raise UserError(f"{PACKAGE}: npm pack failed ({reason}); {ACCEPTED}; npm needs a network")
    return folder / ARCHIVE


def _archive(cache_dir: str) -> Path:
    """Return the checked archive in the cache, after downloading it if it is not there yet."""
    cached = expand_home(cache_dir, f"cache_dir={cache_dir}") / ARCHIVE
    if not cached.is_file():
        with tempfile.TemporaryDirectory() as folder:
            downloaded = _pack(Path(folder))
            _check(downloaded, "the download was not kept")
            write_bytes(cache_folder(cache_dir) / ARCHIVE, downloaded.read_bytes())
    _check(cached, "delete the file to download it again")
    return cached


def _from_archive(archive: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    with tarfile.open(archive) as tar:
        members = {name: tar.extractfile(f"package/dist/{name}") for name in names}
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
    """Return the files of a variant by name, from the folder `runtime` or, if that is empty, from the npm package.

    Raises UserError if they cannot be read or downloaded, or the package is not the one recorded here.
    """
    if runtime:
        return _from_folder(Path(runtime), variant.files)
    return _from_archive(_archive(cache_dir), variant.files)


def version(module: bytes) -> str:
    """Return the version in the banner of a module of the runtime."""
    match = BANNER.search(module[:1000])
    return match[1].decode() if match else "of unknown version"
