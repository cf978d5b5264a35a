"""The Lipschitz critic: exact layers, its bound against gradients and differences, and what training relies on."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from wgan_dist.config.image_size import ImageSize, square
from wgan_dist.losses.modules import detached_critic
from wgan_dist.models.lipschitz import (
    LIPSCHITZ_TOLERANCE,
    LipschitzCritic,
    MaxMin,
    OrthonormalLinear,
    PatchesToChannels,
    ShiftChannels,
    is_lipschitz,
    lipschitz_bound,
)
from wgan_dist.models.registry import POINT_SIZE, build_critic, critic_spec
from wgan_dist.utils.errors import UserError

SHAPES = [(POINT_SIZE, 1), (POINT_SIZE, 2), (POINT_SIZE, 50), (square(16), 1), (ImageSize(17, 23), 3)]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def make(size: ImageSize, channels: int, features: int = 6) -> LipschitzCritic:
    critic = build_critic(critic_spec("lipschitz", size, channels, features, "auto"), 1)
    assert isinstance(critic, LipschitzCritic)
    return critic


def samples(count: int, size: ImageSize, channels: int, seed: int = 0) -> Tensor:
    return draw(count, *((channels,) if size == POINT_SIZE else (channels, *size)), seed=seed)


def train_far(critic: nn.Module, given: Tensor) -> nn.Module:
    """Train at a rate that takes the weights far from where they began."""
    optimizer = torch.optim.Adam(critic.parameters(), 0.1)
    for _ in range(30):
        optimizer.zero_grad()
        scores = critic(given)
        (scores * draw(len(scores)).to(scores)).mean().backward()
        optimizer.step()
    return critic


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("rows", "columns"), [(1, 7), (7, 1), (5, 5), (8, 3), (3, 200)])
def test_a_trained_layer_has_singular_values_of_one(rows: int, columns: int, dtype: torch.dtype) -> None:
    layer = OrthonormalLinear(columns, rows).to(dtype)
    before = layer.weight.detach().clone()
    train_far(nn.Sequential(layer, nn.Flatten(0)), draw(4, columns).to(dtype))
    weight = layer.weight.detach()
    assert weight.shape == (rows, columns)
    assert min(rows, columns) == 1 or (weight - before).norm() > 0.1
    values = torch.linalg.svdvals(weight.double())
    torch.testing.assert_close(values, torch.ones_like(values), rtol=0, atol=1e-5 if dtype == torch.float32 else 1e-12)


def test_the_layers_between_them_permute_values() -> None:
    images = draw(3, 4, 6, 8)
    for layer in (PatchesToChannels(), ShiftChannels(), MaxMin()):
        output = layer(images)
        torch.testing.assert_close(output.flatten(1).sort().values, images.flatten(1).sort().values, rtol=0, atol=0)


def test_patches_are_the_squares_of_an_image_and_shifts_move_by_one_pixel() -> None:
    images = draw(2, 4, 6, 4)
    patches, shifted = PatchesToChannels()(images), ShiftChannels()(images)
    assert patches[1, 1, 2].tolist() == images[1, 2:4, 4:6].flatten().tolist()
    moved = [(0, 2, 0), (2, 2, 1), (1, 1, 2), (1, 3, 3)]  # what stands at row 1 and column 2 was one pixel away
    assert shifted[0, 1, 2].tolist() == [images[0, *place].item() for place in moved]


@pytest.mark.parametrize(("size", "channels"), SHAPES)
def test_no_gradient_of_a_trained_critic_is_longer_than_one(size: ImageSize, channels: int) -> None:
    critic = train_far(make(size, channels).double(), samples(16, size, channels))
    given = samples(40, size, channels, seed=1).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(given).sum(), given)
    assert gradient.flatten(1).norm(dim=1).max() <= 1.0 + 1e-9
    far = 10.0 * samples(40, size, channels, seed=2)
    assert bool(((critic(far) - critic(given)).abs() <= (far - given).flatten(1).norm(dim=1) + 1e-9).all())
    assert lipschitz_bound(critic) == pytest.approx(1.0, abs=1e-9)


def test_a_critic_reaches_the_slope_of_one() -> None:
    """Between two points the greatest difference of a 1-Lipschitz function is their distance."""
    critic, pair = make(square(16), 1, 8).double(), samples(2, square(16), 1)
    optimizer = torch.optim.Adam(critic.parameters(), 0.01)
    for _ in range(300):
        optimizer.zero_grad()
        first, second = critic(pair)
        (second - first).backward()
        optimizer.step()
    first, second = critic(pair).detach()
    assert (first - second).item() == pytest.approx((pair[0] - pair[1]).norm().item(), rel=0.02)


class Doubled(OrthonormalLinear):
    """A layer that is not orthonormal."""

    @property
    def weight(self) -> Tensor:
        return 2.0 * super().weight


def test_the_bound_is_the_product_of_what_the_layers_measure() -> None:
    critic = make(POINT_SIZE, 2)
    assert abs(lipschitz_bound(critic) - 1.0) < LIPSCHITZ_TOLERANCE / 10
    critic.body[0], critic.body[2] = Doubled(2, 6), Doubled(6, 6)
    assert lipschitz_bound(critic) == pytest.approx(4.0, rel=1e-5)
    assert is_lipschitz(critic)
    assert not is_lipschitz(build_critic(critic_spec("points", POINT_SIZE, 2, 4, "auto")))


def test_a_critic_with_a_label_map_keeps_its_bound_for_each_class() -> None:
    critic = build_critic(critic_spec("lipschitz", square(16), 1, 4, "auto", classes=3, labels="concat"), 1).double()
    given, labels = samples(9, square(16), 1).requires_grad_(), torch.arange(9) % 3
    (gradient,) = torch.autograd.grad(critic(given, labels).sum(), given)
    assert gradient.flatten(1).norm(dim=1).max() <= 1.0 + 1e-9
    assert lipschitz_bound(critic) == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_rounds_scores_and_leaves_the_weights_orthonormal(dtype: torch.dtype) -> None:
    critic, given = make(square(16), 3, 8), samples(20, square(16), 3).float()
    exact = copy.deepcopy(critic).double()(given.double())
    with torch.autocast("cpu", dtype):
        scores, weights = critic(given), [m.weight for m in critic.modules() if isinstance(m, OrthonormalLinear)]
        assert lipschitz_bound(critic) == pytest.approx(1.0, abs=1e-5)
    assert {weight.dtype for weight in weights} == {torch.float32}
    assert (scores.double() - exact).norm() <= 0.03 * exact.norm()


def test_a_compiled_critic_and_its_detached_form_compute_the_same() -> None:
    critic, given = make(square(16), 1).double(), samples(4, square(16), 1).requires_grad_()
    compiled, inner = torch.compile(critic, fullgraph=True, dynamic=False), detached_critic(critic)
    detached = torch.compile(lambda x: inner(x, None, ())[0], fullgraph=True, dynamic=False)
    expected = critic(given)
    (slope,) = torch.autograd.grad(expected.sum(), given)
    for computed in (compiled(given), detached(given)):
        torch.testing.assert_close(computed, expected, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(torch.autograd.grad(computed.sum(), given)[0], slope, rtol=1e-12, atol=1e-14)


def test_weights_depend_on_the_seed_alone_and_no_forward_changes_them() -> None:
    spec, states = critic_spec("lipschitz", square(16), 1, 4, "auto"), []
    for global_seed, seed in ((0, 1), (99, 1), (0, 2)):
        torch.manual_seed(global_seed)
        critic = build_critic(spec, seed)
        before = torch.cat([value.flatten() for value in critic.state_dict().values()])
        critic(samples(4, square(16), 1).float())
        states.append(torch.cat([value.flatten() for value in critic.state_dict().values()]))
        assert torch.equal(before, states[-1])
    assert torch.equal(states[0], states[1])
    assert not torch.equal(states[0], states[2])


def test_images_and_points_have_the_parameters_of_their_layers() -> None:
    points = make(POINT_SIZE, 2, 64)
    assert sum(p.numel() for p in points.parameters()) == (2 * 64 + 64) + 2 * (64 * 64 + 64) + (64 + 1)
    images, (f, g) = make(square(16), 3, 8), (8, 16)
    convolutions = (12 * f + f) + (f * f + f) + (4 * f * g + g) + (g * g + g)
    assert sum(p.numel() for p in images.parameters()) == convolutions + (math.prod((4, 4, g)) + 1)


def test_spectral_norm_has_nothing_to_normalise() -> None:
    with pytest.raises(UserError, match="spectral_norm: critic=lipschitz has no convolution and no dense layer"):
        build_critic(critic_spec("lipschitz", POINT_SIZE, 2, 4, "auto", spectral_norm=True))
