"""Augmentations against an implementation in numpy, and losses with them against explicit formulations."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.losses.test_losses import (
    draw,
    draws_of,
    gradients,
    linear_critic,
    make_critic,
    masks_of,
    penalty_by_autograd,
)
from wgan_dist.losses.adversarial import LOSSES
from wgan_dist.losses.augment import DRAWS, GROUPS, Augmentation, augment
from wgan_dist.losses.gradient_penalty import PENALTIES
from wgan_dist.losses.modules import CriticLoss, CriticMasks, GeneratorLoss, detached_critic

COLOUR, TRANSLATION, CUTOUT = range(GROUPS)
SHAPES = [(1, 32, 32), (3, 16, 24), (4, 17, 9), (2, 8, 64)]
EACH_SHAPE = pytest.mark.parametrize("shape", SHAPES, ids=str)


def uniform(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, DRAWS, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def of_groups(count: int, *groups: int, seed: int = 0) -> Augmentation:
    """Return an augmentation of which every image gets just these groups of operations."""
    draws = uniform(count, seed)
    draws[:, :GROUPS] = 0.75
    draws[:, list(groups)] = 0.25
    return Augmentation(draws, equal(0.5))


def equal(probability: float) -> Tensor:
    return torch.full((GROUPS,), probability)


def colour_by_numpy(image: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Brightness, saturation and contrast one after the other, as in the code of Zhao et al. 2020."""
    brightness, saturation, contrast = draws[GROUPS : GROUPS + 3]
    image = image + (brightness - 0.5)
    if len(image) == 3:
        grey = image.mean(0, keepdims=True)
        image = (image - grey) * (2.0 * saturation) + grey
    return (image - image.mean()) * (contrast + 0.5) + image.mean()


def translation_by_numpy(image: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each pixel goes to its new place by itself, if that is within the image."""
    shifted, (_, height, width) = np.zeros_like(image), image.shape
    most = round(height / 8 + 1e-9), round(width / 8 + 1e-9)
    down, right = (int(u * (2 * m + 1)) - m for u, m in zip(draws[GROUPS + 3 : GROUPS + 5], most, strict=True))
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + right < width:
                shifted[:, y + down, x + right] = image[:, y, x]
    return shifted


def cutout_by_numpy(image: NDArray[np.float64], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    cut, sides = image.copy(), [(size + 1) // 2 for size in image.shape[1:]]
    starts = [
        int(u * (size + 1 - side % 2)) - side // 2
        for u, size, side in zip(draws[GROUPS + 5 :], image.shape[1:], sides, strict=True)
    ]
    rows, columns = (slice(max(0, start), start + side) for start, side in zip(starts, sides, strict=True))
    cut[:, rows, columns] = 0.0
    return cut


BY_NUMPY = {COLOUR: colour_by_numpy, TRANSLATION: translation_by_numpy, CUTOUT: cutout_by_numpy}


@EACH_SHAPE
@pytest.mark.parametrize("groups", [(), (0,), (1,), (2,), (0, 1), (1, 2), (0, 1, 2)], ids=str)
def test_operations_are_those_of_numpy(groups: tuple[int, ...], shape: tuple[int, ...]) -> None:
    images, augmentation = draw(64, *shape), of_groups(64, *groups)
    wanted = []
    for image, draws in zip(images.numpy(), augmentation.draws.numpy(), strict=True):
        for group in groups:
            image = BY_NUMPY[group](image, draws)
        wanted.append(image)
    np.testing.assert_allclose(augment(images, augmentation).numpy(), np.stack(wanted), rtol=0, atol=1e-14)


def test_the_greatest_draws_stay_within_the_ranges() -> None:
    """In single precision a number just below 1 is 1."""
    images = torch.ones(1, 1, 32, 32)
    augmentation = Augmentation(torch.ones(1, DRAWS) - 2.0**-24, equal(1.0))
    almost = augment(images, augmentation)
    above = augment(images, Augmentation(torch.ones(1, DRAWS), equal(1.5)))
    assert torch.equal(almost, above)
    assert (almost[0, 0, :4] == 0).all()
    assert (almost[0, 0, 4:16, 4:] == 1.5).all()
    assert (almost[0, 0, 24:, 24:] == 0).all()
    assert (almost[0, 0, 16:24, 4:] == 1.5).all()


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_each_group_is_applied_with_the_probability(probability: float) -> None:
    count = 4000
    images = draw(count, 1, 8, 8).abs() + 0.1
    augmentation = Augmentation(uniform(count), equal(probability))
    unchanged = (augment(images, augmentation) == images).flatten(1).all(1).double().mean()
    # A translation by (0, 0), one of nine, leaves an image as it is too.
    wanted = (1 - probability) ** 2 * (1 - probability * 8 / 9)
    assert unchanged == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / count) ** 0.5)


@EACH_SHAPE
def test_what_is_drawn_makes_an_affine_function(shape: tuple[int, ...]) -> None:
    """T(a·x + (1 − a)·y) = a·T(x) + (1 − a)·T(y), and autograd finds no second derivative."""
    augmentation = Augmentation(uniform(8), equal(1.0))
    x, y = draw(8, *shape, seed=1), draw(8, *shape, seed=2)
    mixed = augment(0.3 * x + 0.7 * y, augmentation)
    torch.testing.assert_close(mixed, 0.3 * augment(x, augmentation) + 0.7 * augment(y, augmentation))
    x.requires_grad_()
    direction = draw(8, *shape, seed=3)
    (first,) = torch.autograd.grad((augment(x, augmentation) * direction).sum(), x, create_graph=True)
    assert not first.requires_grad
    step = 1e-3 * draw(8, *shape, seed=4)
    moved = (augment(x + step, augmentation) - augment(x, augmentation)) * direction
    assert moved.sum().item() == pytest.approx((first * step).sum().item(), rel=1e-9)


def test_rows_are_repeated_for_twice_as_many_images() -> None:
    images, augmentation = draw(8, 3, 16, 16), Augmentation(uniform(4), equal(1.0))
    both = augment(images, augmentation)
    assert torch.equal(both[:4], augment(images[:4], augmentation))
    assert torch.equal(both[4:], augment(images[4:], augmentation))


def drawn(count: int, probability: float = 0.6) -> Augmentation:
    return Augmentation(uniform(count), equal(probability))


def augmenting(critic: nn.Module, augmentation: Augmentation) -> nn.Module:
    """Return D∘T as a network of its own, written one image after another by numpy's linear algebra."""
    draws, probability = augmentation.draws, float(augmentation.probabilities[0])

    class Composed(nn.Module):
        def forward(self, images: Tensor, masks: object = ()) -> Tensor:
            rows = draws.repeat(len(images) // len(draws), 1)
            parts = [_matrix_form(image, row, probability) for image, row in zip(images, rows, strict=True)]
            return critic(torch.stack(parts), masks) if masks else critic(torch.stack(parts))

    return Composed()


def _matrix_form(image: Tensor, draws: Tensor, probability: float) -> Tensor:
    """Return the augmented image as matrix · x + offset, both found by applying numpy's operations to a basis."""

    def apply(values: NDArray[np.float64]) -> NDArray[np.float64]:
        for group, operation in BY_NUMPY.items():
            if draws[group] < probability:
                values = operation(values, draws.numpy())
        return values

    shape = tuple(image.shape)
    offset = apply(np.zeros(shape))
    columns = [apply(each.reshape(shape)) - offset for each in np.eye(image.numel())]
    matrix = torch.from_numpy(np.stack([column.ravel() for column in columns], axis=1))
    return (matrix @ image.flatten() + torch.from_numpy(offset).flatten()).view(shape)


@pytest.mark.parametrize("name", PENALTIES)
def test_the_penalty_is_that_of_the_augmented_critic(name: str) -> None:
    """Loss and gradients equal those of autograd.grad with create_graph through an explicit D∘T."""
    shape, penalty, loss = (3, 8, 8), PENALTIES[name], LOSSES["relativistic"]
    critic = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 1), nn.Flatten(0)).double()
    real, fake, noise = draw(4, *shape, seed=1), draw(4, *shape, seed=2), draws_of(penalty, 4, shape)
    augmentation = drawn(4)
    value, _ = CriticLoss(critic, loss, penalty, 3.0)(real, fake, noise, CriticMasks(), augmentation=augmentation)
    augmented = augmenting(critic, augmentation)
    points = penalty.points(real, fake, noise)
    explicit = loss.critic(augmented(real), augmented(fake)) + 3.0 * penalty_by_autograd(name, augmented, points)
    assert value.item() == pytest.approx(explicit.item(), rel=1e-12)
    for ours, theirs in zip(gradients(critic, value), gradients(critic, explicit), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", ["wasserstein", "relativistic"])
def test_the_generator_learns_from_the_augmented_critic(loss: str) -> None:
    shape, augmentation = (1, 8, 8), drawn(4)
    critic, generator = linear_critic(draw(64)), nn.Sequential(nn.Linear(5, 64), nn.Unflatten(1, shape)).double()
    z, real = draw(4, 5), draw(4, *shape, seed=1)
    module = GeneratorLoss(generator, detached_critic(critic), LOSSES[loss])
    compared = [real] if loss == "relativistic" else []
    value, _ = module(z, augmentation=augmentation, real=real if compared else None)
    explicit = LOSSES[loss].generator(*(augmenting(critic, augmentation)(x) for x in (generator(z), *compared)))
    assert value.item() == pytest.approx(explicit.item(), rel=1e-12)
    for ours, theirs in zip(gradients(generator, value), gradients(generator, explicit), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_without_augmentation_the_loss_is_the_same_to_the_bit() -> None:
    """So it is with a probability of 0, up to rounding, since an image is changed by factors of 1."""
    critic = make_critic(("upsample", "none", False)).double()
    real, fake, noise = draw(4, 1, 28, 28, seed=1), draw(4, 1, 28, 28, seed=2), draw(4, seed=3).abs()
    module, masks = CriticLoss(critic, LOSSES["wasserstein"], PENALTIES["gp"], 10.0), masks_of(critic, 4)
    plain, _ = module(real, fake, noise, masks)
    none, _ = module(real, fake, noise, masks, augmentation=None)
    never, _ = module(real, fake, noise, masks, augmentation=drawn(4, 0.0))
    always, _ = module(real, fake, noise, masks, augmentation=drawn(4, 1.0))
    assert torch.equal(plain, none)
    assert never.item() == pytest.approx(plain.item(), rel=1e-12)
    assert always.item() != pytest.approx(plain.item(), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_augments_in_single_precision(dtype: torch.dtype) -> None:
    images, draws = draw(8, 3, 16, 16).to(dtype), uniform(8).float()
    with torch.autocast("cpu", dtype):
        augmented = augment(images, Augmentation(draws, equal(1.0)))
    assert augmented.dtype == torch.float32
    wanted = augment(images.double(), Augmentation(draws.double(), equal(1.0)))
    torch.testing.assert_close(augmented.double(), wanted, rtol=0, atol=1e-6)


def test_a_compiled_loss_takes_any_probability_without_compiling_again() -> None:
    critic = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(144, 1), nn.Flatten(0)
    ).double()
    real, fake, noise = draw(4, 1, 8, 8, seed=1), draw(4, 1, 8, 8, seed=2), draw(4, seed=3).abs()
    module = CriticLoss(critic, LOSSES["wasserstein"], PENALTIES["gp"], 10.0)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, dynamic=False, backend="aot_eager")
    graphs = torch._dynamo.utils.counters["stats"]
    seen = []
    for probability in (0.0, 0.4, 1.0):
        augmentation = drawn(4, probability)
        value, _ = compiled(real, fake, noise, CriticMasks(), augmentation=augmentation)
        eager, _ = module(real, fake, noise, CriticMasks(), augmentation=augmentation)
        for ours, theirs in zip(gradients(critic, value), gradients(critic, eager), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
        seen.append(graphs["unique_graphs"])
    assert seen[0] == seen[-1]
