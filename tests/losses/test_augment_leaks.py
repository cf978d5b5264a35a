"""A generator that is trained against an augmented critic makes images without augmentation.

Real images are a square of one of many brightnesses at one place on a dark background, so that a detector sees every
cutout, shift and colour cast.
"""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wgan_dist.losses.adversarial import LOSSES
from wgan_dist.losses.augment import DRAWS, GROUPS, Augmentation, augment
from wgan_dist.losses.gradient_penalty import PENALTIES
from wgan_dist.losses.modules import CriticLoss, CriticMasks, GeneratorLoss, detached_critic

SIZE, BATCH, STEPS, JUDGED = 16, 64, 1500, 2000
LEARNING_RATE = 1e-3
DARK = -0.8
INSIDE = slice(4, 12)
SQUARE = torch.zeros(SIZE, SIZE, dtype=torch.bool)
SQUARE[INSIDE, INSIDE] = True
EDGE = SQUARE.clone()
EDGE[5:11, 5:11] = False
RING = torch.zeros(SIZE, SIZE, dtype=torch.bool)
RING[3:13, 3:13] = True
RING &= ~SQUARE


def real_images(count: int, random: torch.Generator) -> Tensor:
    images = torch.full((count, 1, SIZE, SIZE), DARK)
    images[:, :, INSIDE, INSIDE] = 0.3 + 0.5 * torch.rand(count, 1, 1, 1, generator=random)
    return images


def is_cut_out(images: Tensor) -> Tensor:
    """Return which images have a grey square of 4×4 pixels."""
    is_grey = (images.abs() < 0.15).float()
    return (F.avg_pool2d(is_grey, 4, 1) > 0.99).flatten(1).any(1)


def is_shifted(images: Tensor) -> Tensor:
    """Return of which images the square's edge is dark, or a side of the ring around it is bright."""
    is_dark, is_bright = images < -0.25, images > -0.25
    return (is_dark & EDGE).flatten(1).sum(1).gt(4) | (is_bright & RING).flatten(1).sum(1).gt(4)


def is_recoloured(images: Tensor) -> Tensor:
    """Return of which images the background has another brightness."""
    corners = torch.cat([images[:, 0, :2].flatten(1), images[:, 0, -2:].flatten(1)], 1)
    return (corners.median(1).values - DARK).abs() > 0.3


DETECTORS = {"cutout": is_cut_out, "shift": is_shifted, "colour": is_recoloured}


def shares(images: Tensor) -> dict[str, float]:
    return {name: float(detect(images).double().mean()) for name, detect in DETECTORS.items()}


def augmentations(random: torch.Generator) -> Iterator[Augmentation]:
    while True:
        yield Augmentation(torch.rand(BATCH, DRAWS, generator=random), torch.ones(GROUPS))


def generated_images(augments_generated: bool) -> Tensor:
    """Return images of a generator whose critic sees real images augmented, and generated ones too or as they are."""
    random = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        critic = nn.Sequential(
            *(nn.Flatten(), nn.Linear(SIZE**2, 256), nn.LeakyReLU(0.2), nn.Linear(256, 128), nn.LeakyReLU(0.2)),
            *(nn.Linear(128, 1), nn.Flatten(0)),
        )
        generator = nn.Sequential(
            *(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, SIZE**2), nn.Tanh(), nn.Unflatten(1, (1, SIZE, SIZE)))
        )
    loss = LOSSES["relativistic"]
    of_critic = CriticLoss(critic, loss, PENALTIES["r1r2"], 0.1)
    of_generator = GeneratorLoss(generator, detached_critic(critic), loss)
    optimizers = [
        torch.optim.Adam(network.parameters(), LEARNING_RATE, betas=(0.0, 0.99)) for network in (critic, generator)
    ]
    drawn = augmentations(random)

    def as_seen(real: Tensor, augmentation: Augmentation) -> tuple[Tensor, Augmentation | None]:
        """Return the real images, and the augmentation of real and generated ones, or just augmented real images."""
        return (real, augmentation) if augments_generated else (augment(real, augmentation), None)

    for step in range(STEPS):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = LEARNING_RATE * min(1.0, 2.0 - 2.0 * step / STEPS)
        real, z = real_images(BATCH, random), torch.randn(BATCH, 4, generator=random)
        of_critic.zero_grad()
        seen, augmentation = as_seen(real, next(drawn))
        of_critic(seen, generator(z).detach(), torch.empty(0), CriticMasks(), augmentation=augmentation)[0].backward()
        optimizers[0].step()
        of_generator.zero_grad()
        seen, augmentation = as_seen(real, next(drawn))
        of_generator(z, augmentation=augmentation, real=seen)[0].backward()
        optimizers[1].step()
    with torch.no_grad():
        return generator(torch.randn(JUDGED, 4, generator=random))


def test_the_detectors_see_augmentations_and_nothing_in_real_images() -> None:
    random = torch.Generator().manual_seed(1)
    real = real_images(BATCH, random)
    assert shares(real) == dict.fromkeys(DETECTORS, 0.0)
    assert all(share > 0.3 for share in shares(augment(real, next(augmentations(random)))).values())


@pytest.mark.slow
def test_generated_images_show_no_augmentation() -> None:
    assert all(share <= 0.01 for share in shares(generated_images(augments_generated=True)).values())


@pytest.mark.slow
def test_augmentations_of_real_images_alone_leak() -> None:
    """The same training shows augmentations where only real images are augmented, so that the test can fail."""
    assert max(shares(generated_images(augments_generated=False)).values()) > 0.2
