"""Losses and penalties against closed forms, finite differences and a second implementation."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils.parametrize import remove_parametrizations

from wgan_dist.config.image_size import square
from wgan_dist.config.network_choices import CRITICS, LIPSCHITZ
from wgan_dist.data.synthetic import DIMENSIONS
from wgan_dist.distributed import SyncBatchNorm
from wgan_dist.losses.adversarial import (
    LOSSES,
    Loss,
    bce_critic_loss,
    bce_generator_loss,
    hinge_critic_loss,
    wasserstein_estimate,
    wasserstein_generator_loss,
)
from wgan_dist.losses.gradient_penalty import (
    GRADIENT_NORM_EPSILON,
    PENALTIES,
    Penalty,
    clip_weights,
    gradient_norms,
    interpolate,
    one_sided_penalty,
    two_sided_penalty,
    zero_centred_penalty,
)
from wgan_dist.losses.modules import CriticLoss, CriticMasks, GeneratorLoss, Masks, detached_critic
from wgan_dist.models.fast_layers import use_fast_ops
from wgan_dist.models.layers import InstanceNorm2d, LayerNorm2d, SelfAttention2d, has_batchnorm
from wgan_dist.models.registry import POINT_SIZE, build_critic, build_generator, critic_spec, generator_spec
from wgan_dist.ops.double_backward import input_gradient

Kind = tuple[str, str, bool]

WASSERSTEIN, GP = LOSSES["wasserstein"], PENALTIES["gp"]
NO_MASKS = CriticMasks()
# Image size and channels; 16 and 3 for all others.
SIZES = {"resnet": (square(32), 3), "upsample": (square(28), 1), "points": (POINT_SIZE, DIMENSIONS)}
# Name, norm, spectral norm: every critic that takes a penalty and whose samples do not mix, and two of them normalised.
PLAIN: list[Kind] = [
    (name, norm, False)
    for name, network in CRITICS.items()
    for norm in network.norms
    if name != LIPSCHITZ and norm != "batch"
]
KINDS: list[Kind] = [*PLAIN, ("dcgan", "none", True), ("sagan", "instance", True)]
EACH_PLAIN = pytest.mark.parametrize("kind", PLAIN, ids=lambda kind: f"{kind[0]}-{kind[1]}")
EACH_KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind[0]}-{kind[1]}{'-spectral' * kind[2]}")
SHAPE = (2, 2, 3)
WEIGHTS = st.lists(st.floats(-10, 10, allow_subnormal=False), min_size=12, max_size=12)


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Draw uniformly from [−1, 1), the range of images."""
    return 2.0 * torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 1.0


def linear_critic(weight: Tensor) -> nn.Module:
    """Return the critic w·x + 1 over all values of a sample."""
    layer = nn.Linear(weight.numel(), 1).double()
    with torch.no_grad():
        layer.weight.copy_(weight.reshape(1, -1))
        layer.bias.fill_(1.0)
    return nn.Sequential(nn.Flatten(), layer, nn.Flatten(0))


def shape_of(kind: Kind) -> tuple[int, ...]:
    """Return the shape of one sample."""
    size, channels = SIZES.get(kind[0], (square(16), 3))
    return (2,) if kind[0] == "points" else (channels, *size)


def make_critic(kind: Kind, seed: int = 0) -> nn.Module:
    name, norm, spectral = kind
    return build_critic(critic_spec(name, *SIZES.get(name, (square(16), 3)), 8, norm, spectral), seed)


def critic_of_norm(kind: Kind, target: float, seed: int = 0) -> nn.Module:
    """Return a critic in float64 whose input gradients have norms around `target`, and whose attention is not zero."""
    critic = make_critic(kind, seed).double()
    for attention in critic.modules():
        if isinstance(attention, SelfAttention2d):
            attention.gamma.data.fill_(0.7)
            for part in (attention.f, attention.g, attention.h, attention.v):
                part.weight.data.mul_(20.0)
    *_, last = (layer for layer in critic.modules() if isinstance(layer, (nn.Conv2d, nn.Linear)))
    if kind[2]:  # a normalised weight cannot be scaled
        remove_parametrizations(last, "weight")
    found = gradient_norms(input_gradient(critic, draw(16, *shape_of(kind)))).mean().detach()
    last.weight.data *= target / found
    return critic


def batch(count: int = 6, shape: tuple[int, ...] = (3, 16, 16)) -> tuple[Tensor, Tensor, Tensor]:
    """Return real, fake and alpha."""
    return draw(count, *shape, seed=1), draw(count, *shape, seed=2), draw(count, seed=3).abs()


def draws_of(penalty: Penalty, count: int, shape: tuple[int, ...]) -> Tensor:
    """Return what a penalty draws: α, or noise shaped as the samples."""
    return 0.5 * draw(count, *shape, seed=3) if penalty.draws == "noise" else draw(count, seed=3).abs()


def masks_of(critic: nn.Module, count: int) -> CriticMasks:
    """Return masks for every dropout layer of a critic and each of its three inputs."""

    def masks(seed: int) -> list[Tensor]:
        return [(draw(count, *shape, seed=seed) > -0.4) / 0.7 for _, shape in getattr(critic, "dropouts", ())]

    return CriticMasks(masks(4), masks(5), masks(6))


def gradients(network: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(network.parameters())))


def score(critic: nn.Module, samples: Tensor, masks: Masks) -> Tensor:
    return critic(samples, masks) if masks else critic(samples)


def penalty_by_autograd(name: str, critic: nn.Module, points: Tensor, masks: Masks = ()) -> Tensor:
    """Return a penalty in the textbook formulation: autograd.grad with create_graph."""
    points = points.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(score(critic, points, masks).sum(), points, create_graph=True)
    squares = (gradient.flatten(1) ** 2).sum(1) + GRADIENT_NORM_EPSILON
    if name == "r1":
        return squares.mean() / 2
    if name == "r1r2":
        real, fake = squares.chunk(2)
        return real.mean() / 2 + fake.mean() / 2
    excess = squares**0.5 - 1.0
    return ((excess.relu() if name == "lp" else excess) ** 2).mean()


def points_by_hand(name: str, real: Tensor, fake: Tensor, drawn: Tensor) -> Tensor:
    """Return the points at which each penalty takes the gradient."""
    if name == "r1":
        return real
    if name == "r1r2":
        return torch.cat([real, fake])
    if name == "dragan":
        return real + drawn
    weight = drawn.view(-1, *[1] * (real.dim() - 1))
    return weight * real + (1 - weight) * fake


class Squares(nn.Module):
    """D(x) = Σ x²/2, whose gradient x shows where it was taken."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).square().sum(1) / 2


@given(WEIGHTS)
@settings(deadline=None)
def test_a_linear_critic_has_the_penalty_of_its_weights_norm_whatever_the_data(weights: list[float]) -> None:
    w = torch.tensor(weights, dtype=torch.float64)
    excess = w.norm().item() - 1.0
    real, fake = draw(5, *SHAPE, seed=1), draw(5, *SHAPE, seed=2)
    square = w.dot(w).item()
    expected_of = {"gp": excess**2, "lp": max(0.0, excess) ** 2, "dragan": excess**2, "r1": square / 2, "r1r2": square}
    for name, penalty in PENALTIES.items():
        drawn, expected = draws_of(penalty, 5, SHAPE), expected_of[name]
        _, terms = CriticLoss(linear_critic(w), WASSERSTEIN, penalty, 10.0)(real, fake, drawn, NO_MASKS)
        # √(‖w‖² + 1e-12) is off ‖w‖ by 1e-6 at most, where ‖w‖ is 0.
        assert terms["gradient_penalty"].item() == pytest.approx(expected, rel=1e-9, abs=3e-6)
        assert terms["gradient_norm"].item() == pytest.approx(w.norm().item(), rel=1e-9, abs=1e-6)


def test_a_linear_critics_loss_and_terms_are_their_closed_forms() -> None:
    w, (real, fake) = torch.full((12,), 0.5, dtype=torch.float64), (draw(5, *SHAPE, seed=1), draw(5, *SHAPE, seed=2))
    loss, terms = CriticLoss(linear_critic(w), WASSERSTEIN, GP, 7.0)(real, fake, draw(5).abs(), NO_MASKS)
    estimate = 0.5 * (real - fake).sum().item() / 5
    penalty = (3**0.5 - 1) ** 2
    assert terms["wasserstein"].item() == pytest.approx(estimate)
    assert loss.item() == pytest.approx(-estimate + 7.0 * penalty)
    assert terms["critic_loss"].item() == loss.item()
    assert not any(value.requires_grad for value in terms.values())


def test_without_a_penalty_the_loss_is_minus_the_estimate() -> None:
    real, fake, alpha = batch()
    loss, terms = CriticLoss(critic_of_norm(("mlp", "none", False), 3.0), WASSERSTEIN, None, 10.0)(
        real, fake, alpha, NO_MASKS
    )
    assert loss.item() == -terms["wasserstein"].item()
    assert set(terms) == {"wasserstein", "critic_loss"}


def test_the_norm_is_over_all_values_of_a_sample() -> None:
    gradient = torch.tensor([[[[3.0]], [[4.0]]], [[[5.0]], [[12.0]]]])  # two images of two channels
    torch.testing.assert_close(gradient_norms(gradient), torch.tensor([5.0, 13.0]))


def test_penalties_are_their_equations() -> None:
    norms = torch.tensor([0.0, 0.5, 1.0, 3.0])
    assert two_sided_penalty(norms).item() == pytest.approx((1 + 0.25 + 0 + 4) / 4)
    assert one_sided_penalty(norms).item() == pytest.approx(4 / 4)
    assert zero_centred_penalty(norms).item() == pytest.approx((0.25 + 1 + 9) / 4 / 2)


def test_the_estimate_rises_with_real_scores_and_falls_with_generated_ones() -> None:
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0])
    assert wasserstein_estimate(real, fake).item() == 1.5
    assert wasserstein_estimate(real + 1, fake).item() == 2.5
    assert wasserstein_estimate(real, fake + 1).item() == 0.5
    assert wasserstein_generator_loss(fake).item() == -0.5


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_the_critic_gains_when_real_scores_rise_and_the_generator_when_generated_ones_do(loss: Loss) -> None:
    real, fake, alpha = batch()
    critic = linear_critic(torch.full((3 * 16 * 16,), 1e-3, dtype=torch.float64))
    objective = CriticLoss(critic, loss, GP, 10.0)
    before = objective(real, fake, alpha, NO_MASKS)[0]
    assert objective(real - 0.1, fake, alpha, NO_MASKS)[0] > before > objective(real, fake - 0.1, alpha, NO_MASKS)[0]
    # A generator whose latents are its images.
    generator_loss = GeneratorLoss(nn.Unflatten(1, (3, 16, 16)), detached_critic(critic), loss)
    compared = {"real": real} if loss.is_relativistic else {}
    assert generator_loss(fake.flatten(1) + 0.1, **compared)[0] < generator_loss(fake.flatten(1), **compared)[0]


SCORES = st.lists(st.floats(-300, 300, allow_subnormal=False), min_size=1, max_size=8)


@given(SCORES, SCORES)
@settings(deadline=None)
def test_binary_cross_entropy_is_torchs_with_targets_one_for_real_and_zero_for_generated(
    real_values: list[float], fake_values: list[float]
) -> None:
    real, fake = (torch.tensor(each, dtype=torch.float64, requires_grad=True) for each in (real_values, fake_values))
    ours = bce_critic_loss(real, fake)
    theirs = F.binary_cross_entropy_with_logits(real, torch.ones_like(real)) + F.binary_cross_entropy_with_logits(
        fake, torch.zeros_like(fake)
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-12)
    for mine, other in zip(
        torch.autograd.grad(ours, (real, fake)), torch.autograd.grad(theirs, (real, fake)), strict=True
    ):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-12)
    # Non-saturating: the generator wants its samples taken for real.
    wanted = F.binary_cross_entropy_with_logits(fake, torch.ones_like(fake))
    torch.testing.assert_close(bce_generator_loss(fake), wanted, rtol=1e-6, atol=1e-12)


def test_the_hinge_losses_are_their_equations() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-2.0, 0.0, 1.0, 3.0])
    assert hinge_critic_loss(real, fake).item() == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1 + 2 + 4) / 4)
    assert LOSSES["hinge"].generator(fake).item() == pytest.approx(-0.5)  # not hinged


def test_the_terms_of_a_loss_are_means_of_scores_or_of_probabilities() -> None:
    real, fake = torch.tensor([0.0, math.log(3.0)]), torch.tensor([-math.log(3.0), 0.0])
    values = {name: {k: v.item() for k, v in loss.metrics(real, fake).items()} for name, loss in LOSSES.items()}
    assert values["wasserstein"] == pytest.approx({"wasserstein": math.log(3.0)})
    assert values["bce"] == pytest.approx({"real_probability": (1 / 2 + 3 / 4) / 2, "fake_probability": 3 / 8})
    assert values["relativistic"] == pytest.approx({"score_difference": math.log(3.0), "pairs_in_order": 1.0})
    assert values["hinge"] == pytest.approx({"real_score": math.log(3.0) / 2, "fake_score": -math.log(3.0) / 2})


@given(SCORES)
@settings(deadline=None)
def test_the_relativistic_losses_are_cross_entropies_of_the_difference_of_each_pair(values: list[float]) -> None:
    real = torch.tensor(values, dtype=torch.float64)
    fake = real.flip(0) * 0.5 + 1.0
    of_real = F.binary_cross_entropy_with_logits(real - fake, torch.ones_like(real))
    of_fake = F.binary_cross_entropy_with_logits(fake - real, torch.ones_like(real))
    torch.testing.assert_close(LOSSES["relativistic"].critic(real, fake), of_real, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(LOSSES["relativistic"].generator(fake, real), of_fake, rtol=1e-9, atol=1e-12)


def test_a_lazy_penalty_counts_as_often_as_iterations_leave_it_out() -> None:
    real, fake, alpha = batch()
    critic = critic_of_norm(("mlp", "none", False), 3.0)
    lazy, plain = (CriticLoss(critic, WASSERSTEIN, GP, 10.0, every=every) for every in (4, 1))
    without, terms = lazy(real, fake, alpha, NO_MASKS, with_penalty=False)
    assert set(terms) == {"critic_loss", "wasserstein"}
    assert without.item() == pytest.approx(-terms["wasserstein"].item(), rel=1e-12)
    penalty = plain(real, fake, alpha, NO_MASKS)[0] - without
    assert (lazy(real, fake, alpha, NO_MASKS)[0] - without).item() == pytest.approx(4 * penalty.item(), rel=1e-9)


@pytest.mark.parametrize("name", ["bce", "hinge"])
def test_the_critics_loss_is_that_of_its_scores_and_the_weighed_penalty(name: str) -> None:
    real, fake, _ = batch()
    critic, loss = critic_of_norm(("mlp", "none", False), 3.0), LOSSES[name]
    found, terms = CriticLoss(critic, loss, PENALTIES["r1"], 5.0)(real, fake, draw(6), NO_MASKS)
    expected = loss.critic(critic(real), critic(fake)) + 5.0 * penalty_by_autograd("r1", critic, real)
    assert found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert set(terms) == {"critic_loss", *loss.metrics(real, fake), "gradient_penalty", "gradient_norm"}
    assert not any(value.requires_grad for value in terms.values())


def test_interpolation_ends_at_the_generated_and_at_the_real_images() -> None:
    real, fake, _ = batch(4)
    assert torch.equal(interpolate(real, fake, torch.zeros(4)), fake)
    assert torch.equal(interpolate(real, fake, torch.ones(4)), real)


def test_every_sample_is_interpolated_by_its_own_alpha() -> None:
    real, fake, alpha = batch(4)
    mixed = interpolate(real, fake, alpha)
    for i in range(4):
        torch.testing.assert_close(mixed[i], fake[i] + alpha[i].item() * (real[i] - fake[i]))


@pytest.mark.parametrize("name", PENALTIES)
def test_a_penalty_is_taken_at_its_own_points(name: str) -> None:
    real, fake, _ = batch()
    drawn = draws_of(PENALTIES[name], 6, (3, 16, 16))
    _, terms = CriticLoss(Squares(), WASSERSTEIN, PENALTIES[name], 1.0)(real, fake, drawn, NO_MASKS)
    norms = points_by_hand(name, real, fake, drawn).flatten(1).norm(dim=1)
    assert terms["gradient_norm"].item() == pytest.approx(norms.mean().item(), rel=1e-12)
    excess = norms - 1.0  # all of them above 0
    expected = {"r1": norms.square().mean() / 2, "r1r2": norms.square().mean()}.get(name, excess.square().mean())
    assert terms["gradient_penalty"].item() == pytest.approx(expected.item(), rel=1e-9)


@pytest.mark.parametrize("name", PENALTIES)
@EACH_KIND
def test_loss_and_gradients_equal_a_create_graph_formulation(kind: Kind, name: str) -> None:
    shape = shape_of(kind)
    real, fake, _ = batch(4, shape)
    drawn = draws_of(PENALTIES[name], 4, shape)
    # One-sided: around 1, so that samples lie on either side of the bend.
    critic = critic_of_norm(kind, 1.0 if name == "lp" else 3.0)
    twin, masks = copy.deepcopy(critic), masks_of(critic, 4)
    penalty_masks = [torch.cat([mask, mask]) if name == "r1r2" else mask for mask in masks.penalty]
    loss, terms = CriticLoss(critic, WASSERSTEIN, PENALTIES[name], 10.0)(real, fake, drawn, masks)
    if kind[2]:  # each pass improves the estimate of the spectral norm, so there must be as many
        real_scores, fake_scores = twin(torch.cat([real, fake])).chunk(2)
    else:
        real_scores, fake_scores = score(twin, real, masks.real), score(twin, fake, masks.fake)
    expected = penalty_by_autograd(name, twin, points_by_hand(name, real, fake, drawn), penalty_masks)
    separate = fake_scores.mean() - real_scores.mean() + 10.0 * expected
    assert terms["gradient_penalty"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert loss.item() == pytest.approx(separate.item(), rel=1e-12)
    assert expected > 0
    pairs = list(zip(gradients(critic, loss), gradients(twin, separate), strict=True))
    # A bias before a norm, or of an attention's keys, has the gradient 0 but for rounding.
    rounding = 1e-15 * sum(theirs.norm() for _, theirs in pairs)
    for ours, theirs in pairs:
        assert (ours - theirs).norm() <= 1e-12 * theirs.norm() + rounding


@pytest.mark.parametrize("penalty", PENALTIES.values(), ids=PENALTIES)
def test_the_double_backward_agrees_with_finite_differences(penalty: Penalty) -> None:
    torch.manual_seed(0)
    last = nn.Linear(4, 1)
    last.weight.data *= 4.0  # beyond the bend of the one-sided
    critic = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), last, nn.Flatten(0)).double()
    objective = CriticLoss(critic, WASSERSTEIN, penalty, 10.0)
    real, fake, drawn = draw(2, 3, seed=1), draw(2, 3, seed=2), draws_of(penalty, 2, (3,))
    names = [name for name, _ in objective.named_parameters()]

    def loss(*parameters: Tensor) -> Tensor:
        value: Tensor = functional_call(
            objective, dict(zip(names, parameters, strict=True)), (real, fake, drawn, NO_MASKS)
        )[0]
        return value

    assert torch.autograd.gradcheck(loss, tuple(objective.parameters()))


def test_a_gradient_of_exactly_zero_has_finite_parameter_gradients() -> None:
    critic = linear_critic(torch.zeros(12))
    objective = CriticLoss(critic, WASSERSTEIN, GP, 10.0)
    loss, terms = objective(draw(3, *SHAPE), draw(3, *SHAPE), draw(3).abs(), NO_MASKS)
    assert terms["gradient_penalty"].item() == pytest.approx(1.0, abs=1e-5)
    assert all(gradient.isfinite().all() for gradient in gradients(critic, loss))


@pytest.mark.parametrize("exponent", [-8, 0, 16])
def test_the_loss_scale_leaves_the_input_gradient_unchanged(exponent: int) -> None:
    critic, images = critic_of_norm(("mlp", "none", False), 3.0), draw(4, 3, 16, 16)
    scaled = input_gradient(critic, images, torch.tensor(2.0**exponent))
    assert torch.equal(scaled, input_gradient(critic, images))


def test_generator_gradients_are_those_through_a_critic_that_takes_none() -> None:
    critic, generator = critic_of_norm(("dcgan", "instance", False), 3.0), generator_of_16_pixels()
    objective, z = GeneratorLoss(generator, detached_critic(critic), WASSERSTEIN), draw(4, 5)
    for _ in range(3):
        loss, terms = objective(z)
        twin = copy.deepcopy(critic).requires_grad_(False)
        expected = -twin(generator(z)).mean()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
        assert terms["generator_loss"].item() == loss.item()
        for ours, theirs in zip(gradients(generator, loss), gradients(generator, expected), strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-16)
        # After an update in place, as an optimizer makes it; then once more from other memory, as wrapping gives it.
        for parameter in critic.parameters():
            parameter.data.mul_(-1.5).add_(0.1)
            parameter.data = parameter.data.clone()


def generator_of_16_pixels() -> nn.Module:
    return build_generator(generator_spec("dcgan", 5, square(16), 3, 4, "batch")).double()


def test_the_generators_loss_leaves_no_gradient_in_the_critic() -> None:
    critic = critic_of_norm(("dcgan", "instance", False), 3.0)
    loss, _ = GeneratorLoss(generator_of_16_pixels(), detached_critic(critic), WASSERSTEIN)(draw(4, 5))
    loss.backward()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in critic.parameters())


def test_the_critic_is_not_part_of_the_generators_objective() -> None:
    critic, generator = critic_of_norm(("dcgan", "instance", False), 3.0), generator_of_16_pixels()
    objective = GeneratorLoss(generator, detached_critic(critic), WASSERSTEIN)
    addresses = {parameter.data_ptr() for parameter in objective.parameters()}
    assert addresses == {parameter.data_ptr() for parameter in generator.parameters()}
    assert not addresses & {parameter.data_ptr() for parameter in critic.parameters()}


@given(st.lists(st.floats(-1, 1, width=32), min_size=1, max_size=20), st.floats(1e-4, 1))
@settings(deadline=None)
def test_clipping_is_clamping_every_weight(values: list[float], bound: float) -> None:
    parameters: list[Tensor] = [nn.Parameter(torch.tensor(values)), nn.Parameter(torch.tensor([[5.0, -5.0]]))]
    expected = [torch.clamp(parameter.detach(), -bound, bound) for parameter in parameters]
    clip_weights(parameters, bound)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(parameters, expected, strict=True))


# --- critics whose samples mix, and critics with dropout ---


def normalised(samples: Tensor) -> Tensor:
    """Return the BatchNorm of [n, k] without scale and shift, written out."""
    return (samples - samples.mean(0)) / (samples.var(0, correction=0) + 1e-5).sqrt()


def test_a_critic_with_batchnorm_gets_real_and_generated_samples_in_separate_batches() -> None:
    linear = nn.Linear(12, 1).double()
    critic = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(12, affine=False).double(), linear, nn.Flatten(0))
    real, fake = draw(5, *SHAPE, seed=1), draw(5, *SHAPE, seed=2) + 3.0
    loss, terms = CriticLoss(critic, LOSSES["bce"], None, 10.0)(real, fake, draw(5), NO_MASKS)
    real_scores, fake_scores = (linear(normalised(each.flatten(1)))[:, 0] for each in (real, fake))
    assert loss.item() == pytest.approx(bce_critic_loss(real_scores, fake_scores).item(), rel=1e-12)
    assert terms["real_probability"].item() == pytest.approx(real_scores.sigmoid().mean().item(), rel=1e-12)
    # A linear function of what has the mean 0 says nothing of the distance: together, they would differ.
    _, terms = CriticLoss(critic, WASSERSTEIN, None, 10.0)(real, fake, draw(5), NO_MASKS)
    assert terms["wasserstein"].item() == pytest.approx(0.0, abs=1e-12)
    together = linear(normalised(torch.cat([real, fake]).flatten(1)))[:, 0]
    assert abs(wasserstein_estimate(*together.chunk(2)).item()) > 0.1


@pytest.mark.parametrize(
    ("norm", "mixes"),
    [
        (nn.BatchNorm1d(4), True),
        (nn.BatchNorm2d(4), True),
        (nn.SyncBatchNorm(4), True),
        (SyncBatchNorm(4), True),
        (InstanceNorm2d(4, affine=True), False),
        (LayerNorm2d(4), False),
        (nn.LayerNorm(4), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_batchnorm_mixes_samples(norm: nn.Module, mixes: bool) -> None:
    assert has_batchnorm(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(norm))) is mixes


@pytest.mark.parametrize(
    ("norm", "penalty", "passes"),
    [("instance", GP, [12, 6]), ("layer", GP, [12, 6]), ("none", None, [12]), ("batch", None, [6, 6])],
)
def test_a_critic_is_passed_all_samples_at_once_unless_they_mix(
    norm: str, penalty: Penalty | None, passes: list[int]
) -> None:
    critic = make_critic(("dcgan", norm, False)).double()
    counts: list[int] = []
    critic.register_forward_pre_hook(lambda module, inputs: counts.append(len(inputs[0])))
    CriticLoss(critic, WASSERSTEIN, penalty, 10.0)(*batch(6), NO_MASKS)
    assert counts == passes


class Dropping(nn.Module):
    """The critic w·(m·x) with a mask m, or w·x without one."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(draw(12, seed=9))

    def forward(self, samples: Tensor, masks: Masks = ()) -> Tensor:
        x = samples.flatten(1)
        return (x * masks[0] if masks else x) @ self.weight


@pytest.mark.parametrize("mixing", [False, True])
def test_real_and_generated_samples_and_the_penalty_meet_their_own_masks(mixing: bool) -> None:
    critic = Dropping()
    if mixing:
        critic.register_module("unused", nn.BatchNorm1d(3))
    real, fake = draw(5, *SHAPE, seed=1), draw(5, *SHAPE, seed=2)
    on_real, on_fake, on_points = (2.0 * (draw(5, 12, seed=seed) > 0) for seed in (4, 5, 6))
    masks = CriticMasks([on_real], [on_fake], [on_points])
    _, terms = CriticLoss(critic, WASSERSTEIN, GP, 10.0)(real, fake, draw(5).abs(), masks)
    w = critic.weight.detach()
    estimate = ((on_real * real.flatten(1)) @ w).mean() - ((on_fake * fake.flatten(1)) @ w).mean()
    assert terms["wasserstein"].item() == pytest.approx(estimate.item(), rel=1e-12)
    norms = (on_points * w).norm(dim=1)
    assert terms["gradient_norm"].item() == pytest.approx(norms.mean().item(), rel=1e-9)


def test_the_generator_meets_the_critic_under_its_masks() -> None:
    critic, z, mask = Dropping(), draw(4, 12), 2.0 * (draw(4, 12, seed=4) > 0)
    loss, _ = GeneratorLoss(nn.Identity(), detached_critic(critic), WASSERSTEIN)(z, [mask])
    assert loss.item() == pytest.approx(-((mask * z) @ critic.weight).mean().item(), rel=1e-12)


def test_a_detached_critic_with_spectral_norm_gives_the_generator_its_normalised_weights() -> None:
    critic = make_critic(("dcgan", "none", True)).double()
    twin, images = copy.deepcopy(critic), draw(4, 3, 16, 16)
    torch.testing.assert_close(detached_critic(critic)(images, None, ())[0], twin(images), rtol=1e-12, atol=0)


# --- precision ---

# More layers, or sums over more values, round more often.
ROUNDING = {"resnet": 4, "upsample": 2}


def steep_critic() -> nn.Module:
    """Return orthogonal layers times 2^6.75 four times, then 2^-6.75 four times: ‖∇‖ = 3, and 3·2^-27 half-way back.

    Half of the smallest number of half precision, 2^-24, is more than that.
    """
    torch.manual_seed(0)
    layers = [nn.Linear(8, 8, bias=False) for _ in range(8)]
    last = nn.Linear(8, 1, bias=False)
    with torch.no_grad():
        for number, layer in enumerate(layers):
            nn.init.orthogonal_(layer.weight)
            layer.weight *= 2.0 ** (6.75 if number < 4 else -6.75)
        last.weight *= 3.0 / last.weight.norm()
    return nn.Sequential(*layers, last, nn.Flatten(0))


def small_batch() -> tuple[Tensor, Tensor, Tensor]:
    """Return real, fake and alpha of 8 values each, so small that steep_critic's activations fit half precision."""
    real, fake = (2.0**-13 * draw(16, 8, seed=seed).float() for seed in (1, 2))
    return real, fake, draw(16, seed=3).abs().float()


def test_the_loss_scale_saves_an_fp16_penalty_from_underflow() -> None:
    critic, inputs = steep_critic(), small_batch()
    exact = CriticLoss(copy.deepcopy(critic).double(), WASSERSTEIN, GP, 10.0)
    _, terms = exact(*(each.double() for each in inputs), NO_MASKS)
    assert terms["gradient_penalty"].item() == pytest.approx(4.0, rel=1e-6)
    objective = CriticLoss(critic, WASSERSTEIN, GP, 10.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    with torch.autocast("cpu", torch.float16):
        _, unscaled = objective(*inputs, NO_MASKS)
        _, scaled = objective(*inputs, NO_MASKS, scaler.scale(torch.ones(())))
    assert unscaled["gradient_norm"].item() < 1e-3  # what happens without: it vanishes
    assert scaled["gradient_penalty"].item() == pytest.approx(4.0, rel=1e-2)


def test_an_fp16_overflow_shows_in_the_loss_and_the_step_is_skipped() -> None:
    critic, inputs = steep_critic(), small_batch()
    before = copy.deepcopy(critic.state_dict())
    optimizer, scaler = torch.optim.SGD(critic.parameters(), 0.1), torch.amp.GradScaler("cpu", init_scale=65536.0)
    with torch.autocast("cpu", torch.float16):
        loss, _ = CriticLoss(critic, WASSERSTEIN, GP, 10.0)(*inputs, NO_MASKS, scaler.scale(torch.ones(())))
    assert not loss.isfinite()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert all(torch.equal(value, before[name]) for name, value in critic.state_dict().items())
    assert scaler.get_scale() == 32768.0


@pytest.mark.parametrize(("dtype", "scale", "tolerance"), [(torch.float16, 2.0**8, 0.02), (torch.bfloat16, 1.0, 0.05)])
@EACH_PLAIN
def test_gradients_in_half_precision_are_those_of_fp64_but_for_rounding(
    kind: Kind, dtype: torch.dtype, scale: float, tolerance: float
) -> None:
    # As initialised: the layers' outputs are small, and the derivatives of a norm's statistics in half precision huge.
    critic = make_critic(kind)
    inputs = [each.float() for each in batch(16, shape_of(kind))]
    exact = CriticLoss(copy.deepcopy(critic).double(), WASSERSTEIN, GP, 10.0)
    expected = torch.cat(
        [each.flatten() for each in gradients(exact, exact(*(each.double() for each in inputs), NO_MASKS)[0])]
    )
    critic = use_fast_ops(critic)
    with torch.autocast("cpu", dtype):
        loss, _ = CriticLoss(critic, WASSERSTEIN, GP, 10.0)(*inputs, NO_MASKS, torch.tensor(scale))
    found = torch.cat([each.flatten() for each in gradients(critic, loss * scale)]) / scale
    assert (found - expected).norm() <= ROUNDING.get(kind[0], 1) * tolerance * expected.norm()


# InstanceNorm on the ResNet's smallest maps, and layers of few values: no recipe has the one, or the other in bf16.
COARSE = {("resnet", "instance"), ("points", "none")}


@pytest.mark.parametrize(("dtype", "scale"), [(torch.bfloat16, None), (torch.float16, torch.tensor(2.0**7))])
@pytest.mark.parametrize("norm", [0.1, 3.0, 10.0])  # near 1 the penalty is 0, and a relative error means nothing
@EACH_PLAIN
def test_a_penalty_in_half_precision_is_that_of_fp64_within_a_hundredth(
    kind: Kind, norm: float, dtype: torch.dtype, scale: Tensor | None
) -> None:
    for seed in range(2):
        critic, inputs = critic_of_norm(kind, norm, seed), batch(32, shape_of(kind))
        _, exact = CriticLoss(critic, WASSERSTEIN, GP, 10.0)(*inputs, NO_MASKS)
        with torch.autocast("cpu", dtype):
            objective = CriticLoss(use_fast_ops(critic.float()), WASSERSTEIN, GP, 10.0)
            _, terms = objective(*(each.float() for each in inputs), NO_MASKS, scale)
        assert {value.dtype for value in terms.values()} == {torch.float32}  # means over scores too
        allowed = 2e-2 if kind[:2] in COARSE else 1e-2
        assert terms["gradient_penalty"].item() == pytest.approx(exact["gradient_penalty"].item(), rel=allowed)
