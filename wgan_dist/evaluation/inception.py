"""The Inception network of torch-fidelity as a feature extractor."""

import hashlib
import io
from pathlib import Path

import torch
from torch import Tensor
from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3

from wgan_dist.evaluation.extractors import Extractor, check_finite, end_of_message, read_file, to_host
from wgan_dist.evaluation.protocol import LOGITS
from wgan_dist.utils.errors import UserError

FEATURES = "2048"
INPUT_SIZE = 299


def as_rgb(images: Tensor) -> Tensor:
    """Convert images [n, 1, 3 or 4, h, w] to [n, 3, h, w] as Pillow does: grey is repeated, alpha is dropped."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]


def cached_weights() -> Path:
    """Return the file in which torch-fidelity caches Inception's weights; it may not exist."""
    return Path(torch.hub.get_dir()) / "checkpoints" / URL_INCEPTION_V3.rsplit("/", 1)[-1]


def missing_inception(weights: str) -> str:
    """Return why Inception's metrics cannot be computed and what to do about it, or "" if they can."""
    if weights or cached_weights().is_file():
        return ""
    return (
        f"needs Inception's weights: {URL_INCEPTION_V3} as {cached_weights()}, or anywhere with "
        "--inception_weights=FILE"
    )


def open_inception(weights: str, device: torch.device) -> Extractor:
    """Open torch-fidelity's Inception v3 with the weights of a file, or of torch-fidelity's cache for "".

    Raises:
        UserError: If the file cannot be read or holds other weights.
    """
    if missing := missing_inception(weights):
        raise UserError(f"inception_weights: {missing}")
    path = Path(weights) if weights else cached_weights()
    content = read_file("inception_weights", path)
    try:
        # torch-fidelity unpickles anything, which may be a program: refuse what is not tensors alone.
        torch.load(io.BytesIO(content), "cpu", weights_only=True)
        network = FeatureExtractorInceptionV3(
            "inception-v3-compat", [FEATURES, LOGITS], feature_extractor_weights_path=io.BytesIO(content)
        ).to(device)
    except Exception as error:  # unpickling rubbish raises anything
        raise UserError(
            f"inception_weights={path}: not the weights of torch-fidelity's Inception: {end_of_message(error)}"
        ) from error

    @torch.no_grad()
    def extract(images: Tensor) -> dict[str, Tensor]:
        layers = network(as_rgb(images).to(device))
        features = {name: to_host(layer) for name, layer in zip((FEATURES, LOGITS), layers, strict=True)}
        check_finite("inception_weights", path, features.values())
        return features

    description = f"torch-fidelity's Inception v3 ({path.name}), resized to {INPUT_SIZE}×{INPUT_SIZE} in it"
    return Extractor(extract, hashlib.sha256(content).hexdigest(), description, FEATURES)
