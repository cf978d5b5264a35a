"""Features of real images, computed once by all processes together, and kept on the disk."""

import hashlib
import importlib.metadata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from wgan_dist import distributed
from wgan_dist.checkpoints import safetensors_io
from wgan_dist.data import ImageDataset
from wgan_dist.evaluation.extractors import Extractor
from wgan_dist.utils.errors import UserError
from wgan_dist.utils.files import write_bytes

# Part of every key: raise it when images are brought to an extractor in another way, or stored in another form.
CACHE_VERSION = 2
BATCH = 64


def batches(part: slice) -> Iterator[slice]:
    """`part` in pieces of 64."""
    starts = range(part.start, part.stop, BATCH)
    return (slice(start, min(start + BATCH, part.stop)) for start in starts)


def _digest(features: Tensor) -> Tensor:
    """uint8 [32]."""
    return torch.tensor(list(bytes.fromhex(safetensors_io.digest({"features": features}))), dtype=torch.uint8)


def pixels_of(images: ImageDataset, rows: NDArray[np.int64]) -> Tensor:
    """uint8 [n, c, h, w]."""
    return torch.from_numpy(np.asarray(images.pixels[rows]))


@dataclass(frozen=True)
class RealFeatures:
    """The features of some `rows` of `images`, in files of `folder`."""

    images: ImageDataset
    rows: NDArray[np.int64]
    folder: Path

    def _file(self, extractor: Extractor) -> Path:
        """Named by all that decides the content: the fingerprint is of the pixels, after their transform.

        torch-fidelity's version is, because Inception's resizing is its code, and not in the file of weights.
        """
        chosen = hashlib.sha256(self.rows.astype("<i8").tobytes()).hexdigest()
        network = [extractor.sha256, extractor.features, importlib.metadata.version("torch-fidelity")]
        parts = [CACHE_VERSION, self.images.fingerprint, chosen, *network]
        return self.folder / f"{hashlib.sha256(repr(parts).encode()).hexdigest()[:32]}.features"

    def _stored(self, file: Path) -> Tensor | None:
        """What an earlier run computed; None where there is none, or it is damaged."""
        try:
            found = safetensors_io.from_bytes(file.read_bytes(), str(file))
            return found["features"] if torch.equal(found["sha256"], _digest(found["features"])) else None
        except (OSError, UserError, KeyError):
            return None

    def _extract(self, extractor: Extractor) -> Tensor:
        mine = batches(distributed.rank_slice(len(self.rows)))
        parts = [extractor.extract(pixels_of(self.images, self.rows[part]))[extractor.features] for part in mine]
        return torch.cat(parts) if parts else torch.zeros(0)

    def of(self, extractor: Extractor) -> Tensor:
        """[n, d], on the first process; the others have none. Every process must call it.

        Raises UserError when the cache cannot be written.
        """
        file = self._file(extractor)
        here: list[Tensor | None] = [None]

        def look() -> bool:
            here[0] = self._stored(file)
            return here[0] is not None

        if not distributed.broadcast_from_main(look):
            gathered = distributed.gather(distributed.run_on_all_ranks(lambda: self._extract(extractor)))
            distributed.broadcast_from_main(
                lambda: write_bytes(file, safetensors_io.to_bytes({"features": gathered, "sha256": _digest(gathered)}))
            )
            return gathered
        return torch.zeros(0) if here[0] is None else here[0]
