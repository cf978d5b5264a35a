"""Features of real images, computed once by all processes together and cached on disk."""

import hashlib
import importlib.metadata
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from wgan_dist import distributed
from wgan_dist.data.datasets import ImageDataset
from wgan_dist.evaluation.extractors import Extractor
from wgan_dist.evaluation.generated_set import batches
from wgan_dist.utils.files import PRIVATE, write_bytes
from wgan_dist.utils.images import as_uint8

# Part of every key: raise it when images reach an extractor in another way, or when the file's format changes.
CACHE_VERSION = 4


def pixels_of(images: ImageDataset, rows: NDArray[np.int64]) -> Tensor:
    """Return some rows [n, c, h, w]: pixels of 8 bits in uint8, others as floats in [−1, 1]."""
    return torch.from_numpy(np.asarray(images.values[rows]))


def _digest(features: Tensor) -> Tensor:
    """Return the SHA-256 of features, uint8 [32]."""
    digest = hashlib.sha256(repr((features.dtype, features.shape)).encode())
    digest.update(features.contiguous().numpy().data)
    return torch.tensor(list(digest.digest()), dtype=torch.uint8)


@dataclass(frozen=True)
class RealFeatures:
    """The features of some `rows` of `images`, cached in `folder`."""

    images: ImageDataset
    rows: NDArray[np.int64]
    folder: Path

    def _cache_file(self, extractor: Extractor) -> Path:
        """Return the cache file, named by everything that its content depends on.

        The fingerprint is of the pixels after their transform. The version of torch-fidelity counts because its code,
        not the file of weights, resizes images for Inception.
        """
        rows = hashlib.sha256(self.rows.astype("<i8").tobytes()).hexdigest()
        network = (extractor.sha256, extractor.features, importlib.metadata.version("torch-fidelity"))
        key = repr((CACHE_VERSION, self.images.fingerprint, str(self.images.levels), rows, *network))
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.features"

    def _cached(self, file: Path) -> Tensor | None:
        """Return the content of the cache file, or None if there is none or it is damaged."""
        try:
            tensors = safetensors.torch.load(file.read_bytes())
            return tensors["features"] if torch.equal(tensors["sha256"], _digest(tensors["features"])) else None
        except (OSError, SafetensorError, KeyError):
            return None

    def _extract_share(self, extractor: Extractor) -> Tensor:
        share = batches(distributed.rank_slice(len(self.rows)))
        parts = [
            extractor.extract(as_uint8(pixels_of(self.images, self.rows[batch])))[extractor.features] for batch in share
        ]
        return torch.cat(parts) if parts else torch.zeros(0)

    def of(self, extractor: Extractor) -> Tensor:
        """Return the features [n, d] on the first process and nothing on the others; every process must call it.

        Raises:
            UserError: If the cache cannot be written.
        """
        file = self._cache_file(extractor)
        cached: list[Tensor | None] = [None]

        def is_cached() -> bool:
            cached[0] = self._cached(file)
            return cached[0] is not None

        if distributed.broadcast_from_main(is_cached):
            return torch.zeros(0) if cached[0] is None else cached[0]
        features = distributed.gather(distributed.run_on_all_ranks(lambda: self._extract_share(extractor)))
        distributed.broadcast_from_main(
            lambda: write_bytes(
                file, safetensors.torch.save({"features": features, "sha256": _digest(features)}), PRIVATE
            )
        )
        return features
