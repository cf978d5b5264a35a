"""Graph file → images, with numpy and onnxruntime alone. This file stands by itself: copy it into any program.

    from export.sampler import Sampler

    images = Sampler("generator.onnx").sample(16, seed=0)  # uint8 [16, height, width, channels]

    for batch in Sampler("generator.onnx").stream(10_000):  # as they come, in memory that does not grow
        ...

On the command line: `python -m export.sampler generator.onnx --count=64 --seed=0 --out=grid.png` (needs Pillow).
"""

import argparse
import contextlib
import ctypes
import hashlib
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

logger = logging.getLogger("export.sampler")

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# Batch sizes that are tried, each twice, as the first call of a size finds its memory: on the images asked for.
TRIED = (8, 8, 32, 32, 128, 128)
# Values that are made uint8 at a time: they stay in the cache of a core.
BLOCK = 2**16
METADATA_PREFIX = "wgan_dist."
LATENT_STREAM = "sample.z"
# One step of Philox's counter makes so many numbers (Salmon et al. 2011, 4x64).
PHILOX_WORDS = 4
POINT_LAYOUT = "nc"
DISTRIBUTIONS = ("normal", "uniform")
FILE_DIGITS = 6
GAP = 2
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class SamplerError(Exception):
    """A graph file, provider or argument that cannot be used; the message says what is accepted."""


def latents(
    count: int, latent_dim: int, distribution: str = "normal", seed: int = 0, start: int = 0
) -> NDArray[np.float32]:
    """Latent vectors z float32 [count, latent_dim]: `normal`, N(0, 1), or `uniform`, U[-1, 1).

    Those of a seed are numbered, and the same whatever is drawn beside them: this draws `start`, `start` + 1, ….
    Philox bits under a SHA-256 key, then Box and Muller 1958: written out because it must stay the same for ever and
    everywhere.
    """
    skipped, before = divmod(start * latent_dim, PHILOX_WORDS)
    size = before + count * latent_dim
    key = hashlib.sha256(f"{seed}/{LATENT_STREAM}/0".encode()).digest()[:16]
    philox = np.random.Philox(key=int.from_bytes(key, "little"))
    bits = philox.advance(skipped).random_raw(size + size % 2)
    unit = (bits >> np.uint64(11)) * 2.0**-53
    if distribution == "uniform":
        return (2.0 * unit[before:size] - 1.0).astype(np.float32).reshape(count, latent_dim)
    radius, angle = np.sqrt(-2.0 * np.log1p(-unit[::2])), 2.0 * np.pi * unit[1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return pairs.reshape(-1)[before:size].astype(np.float32).reshape(count, latent_dim)


def to_uint8(images: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Images [n, c, h, w] in [−1, 1] → uint8 [n, h, w, c] in 0…255, rounded to nearest."""
    n, c, h, w = images.shape
    made = np.empty((n, h, w, c), np.uint8)
    step = max(1, BLOCK // max(1, c * h * w))
    for start in range(0, n, step):
        levels = images[start : start + step] + np.float32(1.0)
        levels *= np.float32(127.5)
        np.rint(levels, out=levels)
        np.clip(levels, 0.0, 255.0, out=levels)
        made[start : start + step] = levels.transpose(0, 2, 3, 1)
    return made


def _has_cuda_device() -> bool:
    """Whether the driver sees a device: onnxruntime lists its CUDA provider on machines that have none."""
    name = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(name)
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0


def _choose_provider(provider: str) -> str:
    available: list[str] = onnxruntime.get_available_providers()
    if provider == "auto":
        provider = "cuda" if PROVIDERS["cuda"] in available and _has_cuda_device() else "cpu"
    name = PROVIDERS.get(provider, provider)
    if name not in available:
        raise SamplerError(f"provider={provider}: expected auto or one of {', '.join(available)}")
    return name


def _open_session(path: Path, options: Any, provider: str) -> Any:
    """A session on `provider`, or None if onnxruntime could not start that one and took another."""
    settings: dict[str, str] = {}
    if provider == PROVIDERS["cuda"]:
        settings["use_tf32"] = "0"  # the images of a CPU, not nearly so
        if hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA as pip installs it is on no search path
    try:
        # The content, not the path: a graph then has no folder from which it could name other files as its weights.
        session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=[(provider, settings)])
    except Exception as error:  # onnxruntime's own exceptions have no public common base
        raise SamplerError(f"{path}: onnxruntime cannot load it: {error}") from error
    return session if session.get_providers()[0] == provider else None


class Sampler:
    """A generator in a graph file written by `python -m export.onnx`, ready to draw images.

    Attributes: latent_dim, latent_distribution, image_size, channels, provider, batch_size (0 until it is known),
    metadata (all the file says about itself, as text).
    """

    def __init__(
        self, path: str | os.PathLike[str], provider: str = "auto", threads: int = 0, batch_size: int = 0
    ) -> None:
        """`provider` is auto, cpu, cuda or one of onnxruntime's names; `threads` 0 is onnxruntime's choice;
        `batch_size` 0 tries a few on the first images asked for, and keeps to the fastest.

        Raises SamplerError for a file that is not such a graph, or a provider that is not there.
        """
        if batch_size < 0:
            raise SamplerError(f"batch_size={batch_size}: expected at least 0")
        self.batch_size = batch_size
        self._tried: list[tuple[float, int]] = []
        self._lock = threading.Lock()  # of these two: several threads may draw at once
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.provider = _choose_provider(provider)
        self._session = self._open(Path(path), options, may_change=provider == "auto")
        self._is_uint8: bool = self._session.get_outputs()[0].type == "tensor(uint8)"
        try:
            self.metadata = self._read_metadata()
            self.latent_dim = int(self.metadata["latent_dim"])
            self.latent_distribution = self.metadata["latent_distribution"]
            self.image_size, self.channels = int(self.metadata["image_size"]), int(self.metadata["channels"])
            self.makes_points = self.metadata.get("layout") == POINT_LAYOUT
            self._check_graph()
        except (KeyError, ValueError) as error:
            raise SamplerError(f"{path}: not a generator written by export.onnx: {error}") from error
        logger.info("%s on %s", path, self.provider)

    def _open(self, path: Path, options: Any, may_change: bool) -> Any:
        if not path.is_file():
            raise SamplerError(f"{path}: there is no such file")
        session = _open_session(path, options, self.provider)
        if session is None and may_change:
            logger.warning("%s could not be started; using %s", self.provider, PROVIDERS["cpu"])
            self.provider = PROVIDERS["cpu"]
            session = _open_session(path, options, self.provider)
        if session is None:
            raise SamplerError(f"provider={self.provider}: onnxruntime could not start it; see its message above")
        return session

    def _read_metadata(self) -> dict[str, str]:
        stored: dict[str, str] = self._session.get_modelmeta().custom_metadata_map
        return {name.removeprefix(METADATA_PREFIX): stored[name] for name in stored if name.startswith(METADATA_PREFIX)}

    def _sample_shape(self) -> tuple[int, ...]:
        if self.makes_points:
            return (self.channels,)
        height = width = self.image_size
        return (height, width, self.channels) if self._is_uint8 else (self.channels, height, width)

    def _check_graph(self) -> None:
        """Raises ValueError unless the graph takes and gives what the metadata says."""
        if self.latent_distribution not in DISTRIBUTIONS:
            raise ValueError(f"latent_distribution={self.latent_distribution}")
        inputs = [(each.name, each.type, each.shape[1:]) for each in self._session.get_inputs()]
        outputs = [tuple(each.shape[1:]) for each in self._session.get_outputs()]
        if inputs != [("z", "tensor(float)", [self.latent_dim])] or outputs != [self._sample_shape()]:
            raise ValueError(f"takes {inputs} and gives {outputs}")
        batch = self._session.get_inputs()[0].shape[0]
        if isinstance(batch, int):
            raise ValueError(f"its batch size is fixed at {batch}, expected a free one")

    def latents(self, count: int, seed: int = 0, start: int = 0) -> NDArray[np.float32]:
        """z float32 [count, latent_dim] from number `start`, the same for the same seed, everywhere."""
        return latents(count, self.latent_dim, self.latent_distribution, seed, start)

    def _run(self, z: NDArray[np.float32]) -> NDArray[Any]:
        if self.provider == PROVIDERS["cuda"]:
            return self._run_bound(z, "cuda")
        output: NDArray[Any] = self._session.run(None, {"z": z})[0]
        return output

    def _run_bound(self, z: NDArray[np.float32], device: str) -> NDArray[Any]:
        """The same with the output made where it is computed and copied once, when all of it is there."""
        binding = self._session.io_binding()
        binding.bind_cpu_input("z", z)
        binding.bind_output(self._session.get_outputs()[0].name, device)
        self._session.run_with_iobinding(binding)
        output: NDArray[Any] = binding.copy_outputs_to_cpu()[0]
        return output

    def images(self, z: NDArray[np.float32]) -> NDArray[Any]:
        """uint8 [n, h, w, c] of the latent vectors z [n, latent_dim], in one batch; points float32 [n, 2]."""
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise SamplerError(f"z of shape {list(z.shape)}: expected [n, {self.latent_dim}]")
        try:
            output = self._run(np.ascontiguousarray(z, np.float32))
        except Exception as error:  # onnxruntime's own exceptions have no public common base
            raise SamplerError(f"the graph cannot be computed: {error}") from error
        if output.shape != (len(z), *self._sample_shape()):
            raise SamplerError(f"the graph gave {list(output.shape)}: expected {[len(z), *self._sample_shape()]}")
        result: NDArray[Any] = output if self._is_uint8 or self.makes_points else to_uint8(output)
        return result

    def _next_size(self) -> int:
        with self._lock:
            return self.batch_size or TRIED[len(self._tried)]

    def _note(self, size: int, seconds: float) -> None:
        """Of a batch that was tried: how long an image of it took. After the last one the size is chosen."""
        with self._lock:
            if self.batch_size or size != TRIED[len(self._tried)]:
                return
            self._tried.append((seconds / size, size))
            if len(self._tried) == len(TRIED):
                self.batch_size = min(self._tried)[1]

    def stream(self, count: int, seed: int = 0) -> Iterator[NDArray[Any]]:
        """`count` images in batches as they come, uint8 [k, h, w, c], or points float32 [k, 2]; the same as `sample`
        gives, in memory that does not grow with their number.
        """
        if count < 1:
            raise SamplerError(f"count={count}: expected at least 1")
        if seed < 0:
            raise SamplerError(f"seed={seed}: expected at least 0")
        start = 0
        while start < count:
            size = min(self._next_size(), count - start)
            begun = time.perf_counter()
            samples = self.images(self.latents(size, seed, start))
            self._note(size, time.perf_counter() - begun)
            yield samples
            start += size

    def sample(self, count: int, seed: int = 0) -> NDArray[Any]:
        """`count` images, uint8 [count, h, w, c], or points float32 [count, 2] of a generator that makes these.

        The same for the same seed, and the first k for any count, as far as onnxruntime computes an image alike in
        any batch: it may round otherwise, which at worst turns one level of 255 into the next.
        """
        shape = (self.channels,) if self.makes_points else (self.image_size, self.image_size, self.channels)
        try:
            samples = np.empty((max(0, count), *shape), np.float32 if self.makes_points else np.uint8)
        except (MemoryError, ValueError) as error:
            raise SamplerError(f"count={count}: more than memory holds: {error}") from error
        start = 0
        for batch in self.stream(count, seed):
            samples[start : start + len(batch)] = batch
            start += len(batch)
        return samples


def grid(images: NDArray[np.uint8], columns: int = 0) -> NDArray[np.uint8]:
    """Images [n, h, w, c] side by side in one picture, 2 dark pixels apart; about square unless `columns` is given."""
    count, height, width, channels = images.shape
    columns = columns or round(count**0.5) or 1
    rows = -(-count // columns)
    height, width = height + GAP, width + GAP
    cells = np.zeros((rows * columns, height, width, channels), np.uint8)
    cells[:count, :-GAP, :-GAP] = images
    ordered = cells.reshape(rows, columns, height, width, channels).transpose(0, 2, 1, 3, 4)
    return ordered.reshape(rows * height, columns * width, channels)[:-GAP, :-GAP]


@contextlib.contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that is renamed to `path` when the block ends well; raises SamplerError if it cannot."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        raise SamplerError(f"out={path}: cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def write_picture(picture: NDArray[np.uint8], path: Path) -> None:
    """One picture uint8 [h, w, c] as an image file, whole or not at all; raises SamplerError if it cannot."""
    try:
        from PIL import Image
    except ImportError as error:
        raise SamplerError("writing a picture needs Pillow: pip install pillow") from error

    with _whole_file(path) as partial:
        image = Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture)
        image.save(partial, format=Image.registered_extensions()[path.suffix.lower()])


def write_points(points: NDArray[np.float32], out: str) -> Path:
    """Points [n, 2] as lines of text, whole or not at all; raises SamplerError if `out` is no .csv or cannot be."""
    path = Path(out)
    if path.suffix.lower() != ".csv":
        raise SamplerError(f"out={out}: this generator makes points; expected a file ending in .csv")
    with _whole_file(path) as partial:
        np.savetxt(partial, points, fmt="%.9g", delimiter=",")
    return path


def write_images(images: NDArray[np.uint8], out: str) -> Iterator[Path]:
    """A grid if `out` names a picture (as grid.png), else one file per image in the folder `out`."""
    if Path(out).suffix.lower() in PICTURES and not out.endswith(("/", os.sep)):
        write_picture(grid(images), Path(out))
        yield Path(out)
        return
    for number, image in enumerate(images):
        path = Path(out) / f"{number:0{FILE_DIGITS}d}.png"
        write_picture(image, path)
        yield path


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m export.sampler", description="Draw images from a graph file.")
    parser.add_argument("model", help="file written by python -m export.onnx")
    parser.add_argument("--count", type=int, default=64, help="number of images (default 64)")
    parser.add_argument("--seed", type=int, default=0, help="same seed, same images (default 0)")
    parser.add_argument("--out", default="grid.png", help="grid picture, folder for single files, or .csv for points")
    parser.add_argument("--provider", default="auto", help="auto, cpu, cuda or an onnxruntime provider")
    return parser.parse_args()


def main() -> None:
    """The command line; bad input is one line on standard error and exit status 2."""
    arguments = _arguments()
    try:
        sampler = Sampler(arguments.model, arguments.provider)
        samples = sampler.sample(arguments.count, arguments.seed)
        if sampler.makes_points:
            written = [write_points(samples, arguments.out)]
        else:
            written = list(write_images(samples, arguments.out))
    except SamplerError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    kind, place = "points" if sampler.makes_points else "images", written[0] if len(written) == 1 else arguments.out
    print(f"{arguments.count} {kind} by {sampler.provider}: {place}")


if __name__ == "__main__":
    main()
