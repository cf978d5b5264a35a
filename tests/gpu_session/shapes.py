"""The systems that are timed and counted, in the sizes of a GPU, or small enough for a CPU to go the same ways."""

import torch

from tests.benchmarks import textbook
from tests.gpu_session.loops import Textbook
from tests.gpu_session.machine import Machine

LATENT_DIM = 100


def batches(machine: Machine) -> tuple[int, int]:
    """Return the two batch sizes of DCGAN-64."""
    return (64, 256) if machine.has_gpu else (4, 8)


def _features(machine: Machine) -> int:
    return 64 if machine.has_gpu else 4


def dcgan(machine: Machine, batch: int, **settings: str) -> dict[str, str]:
    """Return the settings of DCGAN-64 with as many features as the textbook's."""
    features = str(_features(machine))
    sizes = {"image_size": "64", "latent_dim": str(LATENT_DIM), "batch_size": str(batch)}
    return sizes | {"generator_features": features, "critic_features": features, "mixed_precision": "no"} | settings


def textbook_dcgan(machine: Machine, batch: int, fused: bool | None, autocast: torch.dtype | None) -> Textbook:
    """Return the textbook's DCGAN-64."""
    networks = textbook.dcgan_critic(_features(machine)), textbook.dcgan_generator(LATENT_DIM, _features(machine))
    return Textbook(*networks, (LATENT_DIM, 1, 1), (3, 64, 64), batch, batch, fused, autocast)


def resnet(machine: Machine, **settings: str) -> dict[str, str]:
    """Return the settings of the recipe for CIFAR-10."""
    small = {"generator_features": "4", "critic_features": "4", "batch_size": "4", "generator_batch_size": "8"}
    return {"recipe": "cifar10_resnet", "mixed_precision": "no"} | ({} if machine.has_gpu else small) | settings


def textbook_resnet(machine: Machine, autocast: torch.dtype | None) -> Textbook:
    """Return the textbook's ResNet in the sizes of that recipe."""
    width, batch = (128, 64) if machine.has_gpu else (4, 4)
    networks = textbook.ResNetCritic(width), textbook.ResNetGenerator(width)
    return Textbook(*networks, (128,), (3, 32, 32), batch, 2 * batch, None, autocast)
