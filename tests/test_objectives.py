"""Losses and penalties against closed forms, finite differences and a second way to compute them."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call

from wgan_dist.models import CRITICS, build_critic, build_generator, critic_spec, generator_spec
from wgan_dist.objectives import (
    NORM_EPSILON,
    PENALTIES,
    CriticObjective,
    GeneratorObjective,
    clip_weights,
    frozen,
    gradient_norms,
    input_gradient,
    interpolate,
    one_sided_penalty,
    two_sided_penalty,
    wasserstein_estimate,
    wasserstein_generator_loss,
)

KINDS = [(name, norm) for name, network in CRITICS.items() for norm in network.norms]
SHAPE = (2, 2, 3)
WEIGHTS = st.lists(st.floats(-10, 10, allow_subnormal=False), min_size=12, max_size=12)


def draw(*shape: int, seed: int = 0) -> Tensor:
    """Uniform in [−1, 1), as images are."""
    return 2.0 * torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) - 1.0


def linear_critic(weight: Tensor) -> nn.Module:
    """w·x + 1 over all values of a sample."""
    layer = nn.Linear(weight.numel(), 1).double()
    with torch.no_grad():
        layer.weight.copy_(weight.reshape(1, -1))
        layer.bias.fill_(1.0)
    return nn.Sequential(nn.Flatten(), layer, nn.Flatten(0))


def critic_of_norm(name: str, norm: str, target: float, seed: int = 0) -> nn.Module:
    """A critic in float64 for 3×16×16 whose input gradients have norms around `target`."""
    critic = build_critic(critic_spec(name, 16, 3, 8, norm), seed).double()
    *_, last = (layer for layer in critic.modules() if isinstance(layer, (nn.Conv2d, nn.Linear)))
    found = gradient_norms(input_gradient(critic, draw(16, 3, 16, 16))).mean().detach()
    last.weight.data *= target / found
    return critic


def batch(count: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """real, fake, alpha."""
    return draw(count, 3, 16, 16, seed=1), draw(count, 3, 16, 16, seed=2), draw(count, seed=3).abs()


def gradients(network: nn.Module, loss: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(network.parameters())))


def penalty_by_autograd(critic: nn.Module, points: Tensor, one_sided: bool) -> Tensor:
    """The textbook formulation: autograd.grad with create_graph."""
    points = points.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    excess = ((gradient**2).sum(dim=(1, 2, 3)) + NORM_EPSILON) ** 0.5 - 1.0
    return ((excess.relu() if one_sided else excess) ** 2).mean()


@given(WEIGHTS)
@settings(deadline=None)
def test_a_linear_critic_has_the_penalty_of_its_weights_norm_whatever_the_data(weights: list[float]) -> None:
    w = torch.tensor(weights, dtype=torch.float64)
    excess = w.norm().item() - 1.0
    real, fake, alpha = draw(5, *SHAPE, seed=1), draw(5, *SHAPE, seed=2), draw(5, seed=3).abs()
    for name, expected in (("gp", excess**2), ("lp", max(0.0, excess) ** 2)):
        _, terms = CriticObjective(linear_critic(w), PENALTIES[name], 10.0)(real, fake, alpha)
        # √(‖w‖² + 1e-12) is off ‖w‖ by 1e-6 at most, where ‖w‖ is 0.
        assert terms["gradient_penalty"].item() == pytest.approx(expected, rel=1e-9, abs=3e-6)
        assert terms["gradient_norm"].item() == pytest.approx(w.norm().item(), rel=1e-9, abs=1e-6)


def test_a_linear_critics_loss_and_terms_are_their_closed_forms() -> None:
    w, (real, fake) = torch.full((12,), 0.5, dtype=torch.float64), (draw(5, *SHAPE, seed=1), draw(5, *SHAPE, seed=2))
    loss, terms = CriticObjective(linear_critic(w), two_sided_penalty, 7.0)(real, fake, draw(5).abs())
    estimate = 0.5 * (real - fake).sum().item() / 5
    penalty = (3**0.5 - 1) ** 2
    assert terms["wasserstein"].item() == pytest.approx(estimate)
    assert loss.item() == pytest.approx(-estimate + 7.0 * penalty)
    assert terms["critic_loss"].item() == loss.item()
    assert not any(value.requires_grad for value in terms.values())


def test_without_a_penalty_the_loss_is_minus_the_estimate() -> None:
    real, fake, alpha = batch()
    loss, terms = CriticObjective(critic_of_norm("mlp", "none", 3.0), None, 10.0)(real, fake, alpha)
    assert loss.item() == -terms["wasserstein"].item()
    assert set(terms) == {"wasserstein", "critic_loss"}


def test_the_norm_is_over_all_values_of_a_sample() -> None:
    gradient = torch.tensor([[[[3.0]], [[4.0]]], [[[5.0]], [[12.0]]]])  # two images of two channels
    torch.testing.assert_close(gradient_norms(gradient), torch.tensor([5.0, 13.0]))


def test_penalties_are_their_equations() -> None:
    norms = torch.tensor([0.0, 0.5, 1.0, 3.0])
    assert two_sided_penalty(norms).item() == pytest.approx((1 + 0.25 + 0 + 4) / 4)
    assert one_sided_penalty(norms).item() == pytest.approx(4 / 4)


def test_the_estimate_rises_with_real_scores_and_falls_with_generated_ones() -> None:
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1.0])
    assert wasserstein_estimate(real, fake).item() == 1.5
    assert wasserstein_estimate(real + 1, fake).item() == 2.5
    assert wasserstein_estimate(real, fake + 1).item() == 0.5
    assert wasserstein_generator_loss(fake).item() == -0.5


def test_the_critic_gains_when_real_scores_rise_and_the_generator_when_generated_ones_do() -> None:
    real, fake, alpha = batch()
    critic = linear_critic(torch.ones(3 * 16 * 16, dtype=torch.float64))
    objective = CriticObjective(critic, two_sided_penalty, 10.0)
    before = objective(real, fake, alpha)[0]
    assert objective(real + 0.1, fake, alpha)[0] < before < objective(real, fake + 0.1, alpha)[0]
    # A generator whose latents are its images.
    generator_loss = GeneratorObjective(nn.Unflatten(1, (3, 16, 16)), frozen(critic))
    assert generator_loss(fake.flatten(1) + 0.1)[0] < generator_loss(fake.flatten(1))[0]


def test_interpolation_ends_at_the_generated_and_at_the_real_images() -> None:
    real, fake, _ = batch(4)
    assert torch.equal(interpolate(real, fake, torch.zeros(4)), fake)
    assert torch.equal(interpolate(real, fake, torch.ones(4)), real)


def test_every_sample_is_interpolated_by_its_own_alpha() -> None:
    real, fake, alpha = batch(4)
    mixed = interpolate(real, fake, alpha)
    for i in range(4):
        torch.testing.assert_close(mixed[i], fake[i] + alpha[i].item() * (real[i] - fake[i]))


def test_the_penalty_is_taken_at_the_interpolates() -> None:
    # D(x) = Σ x²/2 has the gradient x: the norm says where it was taken.
    class Squares(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1).square().sum(1) / 2

    real, fake, alpha = batch()
    _, terms = CriticObjective(Squares(), two_sided_penalty, 1.0)(real, fake, alpha)
    mixed = alpha.view(-1, 1, 1, 1) * real + (1 - alpha.view(-1, 1, 1, 1)) * fake
    assert terms["gradient_norm"].item() == pytest.approx(mixed.flatten(1).norm(dim=1).mean().item(), rel=1e-12)


@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize(("name", "norm"), KINDS)
def test_loss_and_gradients_equal_a_create_graph_formulation(name: str, norm: str, penalty: str) -> None:
    real, fake, alpha = batch()
    # One-sided: around 1, so that samples lie on either side of the bend.
    critic = critic_of_norm(name, norm, 3.0 if penalty == "gp" else 1.0)
    loss, terms = CriticObjective(critic, PENALTIES[penalty], 10.0)(real, fake, alpha)
    weight = alpha.view(-1, 1, 1, 1)
    expected = penalty_by_autograd(critic, weight * real + (1 - weight) * fake, penalty == "lp")
    separate = critic(fake).mean() - critic(real).mean() + 10.0 * expected
    assert terms["gradient_penalty"].item() == pytest.approx(expected.item(), rel=1e-12)
    assert loss.item() == pytest.approx(separate.item(), rel=1e-12)
    assert expected > 0
    for ours, theirs in zip(gradients(critic, loss), gradients(critic, separate), strict=True):
        assert (ours - theirs).norm() <= 1e-12 * theirs.norm()


def test_the_double_backward_agrees_with_finite_differences() -> None:
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1), nn.Flatten(0)).double()
    objective = CriticObjective(critic, two_sided_penalty, 10.0)
    real, fake, alpha = draw(2, 3, seed=1), draw(2, 3, seed=2), draw(2, seed=3).abs()
    names = [name for name, _ in objective.named_parameters()]

    def loss(*parameters: Tensor) -> Tensor:
        value: Tensor = functional_call(objective, dict(zip(names, parameters, strict=True)), (real, fake, alpha))[0]
        return value

    assert torch.autograd.gradcheck(loss, tuple(objective.parameters()))


def test_a_gradient_of_exactly_zero_has_finite_parameter_gradients() -> None:
    critic = linear_critic(torch.zeros(12))
    loss, terms = CriticObjective(critic, two_sided_penalty, 10.0)(draw(3, *SHAPE), draw(3, *SHAPE), draw(3).abs())
    assert terms["gradient_penalty"].item() == pytest.approx(1.0, abs=1e-5)
    assert all(gradient.isfinite().all() for gradient in gradients(critic, loss))


@pytest.mark.parametrize("exponent", [-8, 0, 16])
def test_the_loss_scale_leaves_the_input_gradient_unchanged(exponent: int) -> None:
    critic, images = critic_of_norm("mlp", "none", 3.0), draw(4, 3, 16, 16)
    scaled = input_gradient(critic, images, torch.tensor(2.0**exponent))
    assert torch.equal(scaled, input_gradient(critic, images))


def test_generator_gradients_are_those_through_a_critic_that_takes_none() -> None:
    critic, generator = critic_of_norm("dcgan", "instance", 3.0), generator_of_16_pixels()
    objective, z = GeneratorObjective(generator, frozen(critic)), draw(4, 5)
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
    return build_generator(generator_spec("dcgan", 5, 16, 3, 4, "batch")).double()


def test_the_generators_loss_leaves_no_gradient_in_the_critic() -> None:
    critic = critic_of_norm("dcgan", "instance", 3.0)
    loss, _ = GeneratorObjective(generator_of_16_pixels(), frozen(critic))(draw(4, 5))
    loss.backward()
    assert all(parameter.grad is None and parameter.requires_grad for parameter in critic.parameters())


def test_the_critic_is_not_part_of_the_generators_objective() -> None:
    critic, generator = critic_of_norm("dcgan", "instance", 3.0), generator_of_16_pixels()
    objective = GeneratorObjective(generator, frozen(critic))
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


# --- precision ---


def steep_critic() -> nn.Module:
    """Orthogonal layers times 2^6.75 four times, then 2^-6.75 four times: ‖∇‖ = 3, and 3·2^-27 half-way back.

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
    """real, fake, alpha of 8 values each, small enough that the activations of steep_critic fit half precision."""
    real, fake = (2.0**-13 * draw(16, 8, seed=seed).float() for seed in (1, 2))
    return real, fake, draw(16, seed=3).abs().float()


def test_the_loss_scale_saves_an_fp16_penalty_from_underflow() -> None:
    critic, inputs = steep_critic(), small_batch()
    exact = CriticObjective(copy.deepcopy(critic).double(), two_sided_penalty, 10.0)
    _, terms = exact(*(each.double() for each in inputs))
    assert terms["gradient_penalty"].item() == pytest.approx(4.0, rel=1e-6)
    objective = CriticObjective(critic, two_sided_penalty, 10.0)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    with torch.autocast("cpu", torch.float16):
        _, unscaled = objective(*inputs)
        _, scaled = objective(*inputs, scaler.scale(torch.ones(())))
    assert unscaled["gradient_norm"].item() < 1e-3  # what happens without: it vanishes
    assert scaled["gradient_penalty"].item() == pytest.approx(4.0, rel=1e-2)


def test_an_fp16_overflow_shows_in_the_loss_and_the_step_is_skipped() -> None:
    critic, inputs = steep_critic(), small_batch()
    before = copy.deepcopy(critic.state_dict())
    optimizer, scaler = torch.optim.SGD(critic.parameters(), 0.1), torch.amp.GradScaler("cpu", init_scale=65536.0)
    with torch.autocast("cpu", torch.float16):
        loss, _ = CriticObjective(critic, two_sided_penalty, 10.0)(*inputs, scaler.scale(torch.ones(())))
    assert not loss.isfinite()
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert all(torch.equal(value, before[name]) for name, value in critic.state_dict().items())
    assert scaler.get_scale() == 32768.0


@pytest.mark.parametrize(("dtype", "scale", "tolerance"), [(torch.float16, 2.0**8, 0.02), (torch.bfloat16, 1.0, 0.05)])
@pytest.mark.parametrize(("name", "norm"), KINDS)
def test_gradients_in_half_precision_are_those_of_fp64_but_for_rounding(
    name: str, norm: str, dtype: torch.dtype, scale: float, tolerance: float
) -> None:
    # As initialised: the layers' outputs are small, and the derivatives of a norm's statistics in half precision huge.
    critic = build_critic(critic_spec(name, 16, 3, 8, norm))
    inputs = [each.float() for each in batch(16)]
    exact = CriticObjective(copy.deepcopy(critic).double(), two_sided_penalty, 10.0)
    expected = torch.cat([each.flatten() for each in gradients(exact, exact(*(each.double() for each in inputs))[0])])
    with torch.autocast("cpu", dtype):
        loss, _ = CriticObjective(critic, two_sided_penalty, 10.0)(*inputs, torch.tensor(scale))
    found = torch.cat([each.flatten() for each in gradients(critic, loss * scale)]) / scale
    assert (found - expected).norm() <= tolerance * expected.norm()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("name", "norm"), KINDS)
def test_a_bf16_penalty_is_within_a_hundredth_of_fp64(name: str, norm: str, seed: int) -> None:
    # Far from ‖∇‖ = 1, where the penalty is 0 and a relative error means nothing.
    critic = critic_of_norm(name, norm, 10.0, seed)
    real, fake, alpha = batch(16)
    _, exact = CriticObjective(critic, two_sided_penalty, 10.0)(real, fake, alpha)
    with torch.autocast("cpu", torch.bfloat16):
        _, terms = CriticObjective(critic.float(), two_sided_penalty, 10.0)(real.float(), fake.float(), alpha.float())
    assert terms["gradient_penalty"].dtype == torch.float32
    assert terms["gradient_penalty"].item() == pytest.approx(exact["gradient_penalty"].item(), rel=1e-2)
