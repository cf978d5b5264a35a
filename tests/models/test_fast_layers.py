"""Fast layers against torch's own: values, derivatives, whole training steps."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from wgan_dist.config.image_size import square
from wgan_dist.config.network_choices import CRITICS, LIPSCHITZ
from wgan_dist.data.synthetic import DIMENSIONS
from wgan_dist.losses.adversarial import LOSSES
from wgan_dist.losses.gradient_penalty import PENALTIES, gradient_norms, two_sided_penalty
from wgan_dist.losses.modules import CriticLoss, CriticMasks, GeneratorLoss, detached_critic
from wgan_dist.models import fast_layers
from wgan_dist.models.dcgan import DCGANCritic
from wgan_dist.models.fast_layers import use_fast_ops, without_second_derivatives
from wgan_dist.models.layers import ConvDownsample, InstanceNorm2d, UpsampleConv
from wgan_dist.models.registry import POINT_SIZE, build_critic, build_generator, critic_spec, generator_spec
from wgan_dist.ops.double_backward import input_gradient

LATENT_DIM = 6
# Every critic that takes a penalty with every norm, beside a generator of its family; and the other generator.
PAIRS = [
    ("dcgan_upsample" if name == "dcgan_minibatch" else name, name, norm)
    for name, network in CRITICS.items()
    for norm in network.norms
    if name != LIPSCHITZ
]
PAIRS.append(("mlp_bn", "mlp", "none"))


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def sample_shape(critic: str) -> tuple[int, ...]:
    return (DIMENSIONS,) if critic == "points" else (3, 32, 32)


def build_pair(generator: str, critic: str, norm: str, dtype: torch.dtype) -> tuple[nn.Module, nn.Module]:
    shape = sample_shape(critic)
    size, channels = (POINT_SIZE, DIMENSIONS) if critic == "points" else (square(32), shape[0])
    return (
        build_generator(generator_spec(generator, LATENT_DIM, size, channels, 4, "auto"), 1).to(dtype),
        build_critic(critic_spec(critic, size, channels, 4, norm), 2).to(dtype),
    )


def step_gradients(generator: nn.Module, critic: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> list[Tensor]:
    """Return the loss and the gradient, as a vector, of a critic iteration, and those of a generator step."""
    penalty = None if any(isinstance(module, nn.BatchNorm2d) for module in critic.modules()) else PENALTIES["gp"]
    critic_loss = CriticLoss(critic, LOSSES["wasserstein"], penalty, 10.0)
    generator_loss = GeneratorLoss(generator, detached_critic(critic), LOSSES["wasserstein"])
    real, z = draw(4, *shape, seed=1, dtype=dtype), draw(4, LATENT_DIM, seed=2, dtype=dtype)
    fake, alpha = generator(z).detach(), draw(4, seed=3, dtype=dtype).sigmoid()
    losses = ((critic, critic_loss(real, fake, alpha, CriticMasks())[0]), (generator, generator_loss(z)[0]))
    results = []
    for network, loss in losses:
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        results += [loss.detach(), torch.cat([gradient.flatten() for gradient in gradients])]
    return results


@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@pytest.mark.parametrize(("generator", "critic", "norm"), PAIRS)
def test_a_step_with_fast_ops_has_the_losses_and_gradients_of_one_without(
    generator: str, critic: str, norm: str, dtype: torch.dtype, rounding: float
) -> None:
    plain = build_pair(generator, critic, norm, dtype)
    fast = use_fast_ops(copy.deepcopy(plain[0])), use_fast_ops(without_second_derivatives(copy.deepcopy(plain[1])))
    assert [list(network.state_dict()) for network in fast] == [list(network.state_dict()) for network in plain]
    shape = sample_shape(critic)
    ours, theirs = (step_gradients(*networks, shape, dtype) for networks in (fast, plain))
    for actual, expected in zip(ours, theirs, strict=True):
        assert (actual - expected).norm() <= rounding * expected.norm()


def test_layers_with_unsupported_options_stay() -> None:
    hooked = nn.Conv2d(4, 4, 3)
    hooked.register_forward_hook(lambda module, inputs, output: output)
    layers: list[Any] = [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 3)),
        InstanceNorm2d(4, affine=True, track_running_stats=True),
        hooked,
    ]
    assert list(use_fast_ops(nn.Sequential(*layers)).children()) == layers


def test_fast_layers_share_the_parameters_of_those_they_replace() -> None:
    layers: list[Any] = [
        nn.Conv2d(4, 4, 3),
        nn.ConvTranspose2d(4, 4, 4, bias=False),
        InstanceNorm2d(4, affine=True),
        ConvDownsample(4, 4, 3),
        UpsampleConv(4, 4, 3),
    ]
    plain = nn.Sequential(*layers)
    names, parameters = list(plain.state_dict()), list(plain.parameters())
    network = use_fast_ops(plain)
    assert not {type(layer) for layer in network.children()} & set(fast_layers.FAST_LAYERS)
    assert list(network.state_dict()) == names
    assert all(ours is theirs for ours, theirs in zip(network.parameters(), parameters, strict=True))


def test_gradients_of_convolutions_have_channels_last_in_memory() -> None:
    critic = use_fast_ops(DCGANCritic(square(32), 3, 8, "instance")).to(memory_format=torch.channels_last)
    Penalty(critic)(draw(4, 3, 32, 32, dtype=torch.float32)).backward()
    for parameter in critic.parameters():
        assert parameter.grad is not None
        assert parameter.grad.is_contiguous(memory_format=torch.channels_last) or parameter.dim() != 4


# --- activations without a second derivative ---


def gradients(critic: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, list[Tensor]]:
    objective = CriticLoss(critic, LOSSES["wasserstein"], PENALTIES["gp"], 10.0)
    real, fake = (draw(4, *shape, seed=seed, dtype=torch.float32) for seed in (0, 1))
    loss, _ = objective(real, fake, torch.rand(4, generator=torch.Generator().manual_seed(2)), CriticMasks())
    return loss, list(torch.autograd.grad(loss, list(critic.parameters())))


CRITICS_AND_NORMS = [
    ("resnet", 32, "none"),
    ("resnet", 64, "layer"),
    ("dcgan", 32, "instance"),
    ("dcgan", 32, "none"),
    ("mlp", 28, "auto"),
    ("upsample", 28, "auto"),
    ("sagan", 32, "none"),
]


@pytest.mark.parametrize(("name", "size", "norm"), CRITICS_AND_NORMS)
def test_without_second_derivatives_gradients_are_the_same_to_the_last_bit(name: str, size: int, norm: str) -> None:
    plain = build_critic(critic_spec(name, square(size), 3, 8, norm), seed=3)
    masked = without_second_derivatives(copy.deepcopy(plain))
    assert list(masked.state_dict()) == list(plain.state_dict())
    assert not any(type(module) in (nn.ReLU, nn.LeakyReLU) for module in masked.modules())
    ours, theirs = (gradients(critic, (3, size, size)) for critic in (masked, plain))
    assert torch.equal(ours[0], theirs[0])
    assert all(torch.equal(actual, expected) for actual, expected in zip(ours[1], theirs[1], strict=True))


@pytest.mark.parametrize("value", [0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-40])
@pytest.mark.parametrize("plain", [nn.ReLU(), nn.LeakyReLU(0.2)])
def test_for_any_number_at_all_it_is_torchs_own_activation(plain: nn.Module, value: float) -> None:
    masked = without_second_derivatives(nn.Sequential(copy.deepcopy(plain)))
    x = torch.tensor([value, 1.0, -1.0], requires_grad=True)
    actual, expected = (torch.autograd.grad(form(x).sum(), x)[0] for form in (masked, plain))
    torch.testing.assert_close(masked(x), plain(x), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


class CountConvolutions(TorchDispatchMode):
    """Counts the backward passes of convolutions."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten.convolution_backward.default
        return func(*args, **(kwargs or {}))


def test_a_critic_without_norms_runs_no_convolution_over_zeros() -> None:
    critic = build_critic(critic_spec("resnet", square(32), 3, 4, "none"), seed=0)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in critic.modules())
    for network, expected in ((copy.deepcopy(critic), 3), (without_second_derivatives(critic), 2)):
        with CountConvolutions() as counted:
            gradients(network, (3, 32, 32))
        # One for the scores, one for the inner gradient; torch adds one through second derivatives that are zero.
        assert counted.count == expected * convolutions


class PreActivation(nn.Module):
    """The usual block with an activation in place, which changes what is added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.convolution = nn.ReLU(inplace=True), nn.Conv2d(2, 2, 1)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.convolution(self.relu(h))


def test_an_activation_that_works_in_place_or_has_a_hook_stays() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), PreActivation(), nn.LeakyReLU(0.2), nn.ReLU())
    network[2].register_forward_hook(lambda module, inputs, output: None)
    x = draw(2, 3, 4, 4, dtype=torch.float32)
    expected = copy.deepcopy(network)(x)
    assert torch.equal(without_second_derivatives(network)(x), expected)
    _, block, hooked, plain = network
    assert type(block.relu) is nn.ReLU
    assert type(hooked) is nn.LeakyReLU
    assert type(plain) is not nn.ReLU


# --- compiled ---


class Penalty(nn.Module):
    """The penalty and the mean score of a critic, as something to compile."""

    def __init__(self, critic: nn.Module) -> None:
        super().__init__()
        self.critic = critic

    def forward(self, images: Tensor) -> Tensor:
        """Map images to a scalar."""
        return two_sided_penalty(gradient_norms(input_gradient(self.critic, images))) + self.critic(images).mean()


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-11), (torch.float32, 1e-3), (torch.bfloat16, 0.03)])
def test_a_compiled_critic_has_the_gradients_of_the_fast_one(dtype: torch.dtype, rounding: float) -> None:
    weights_dtype = torch.float32 if dtype == torch.bfloat16 else dtype
    critic = build_critic(critic_spec("dcgan", square(32), 3, 8, "instance"), seed=1)
    plain = without_second_derivatives(critic.to(weights_dtype))
    fast = use_fast_ops(copy.deepcopy(plain))
    images = draw(4, 3, 32, 32, dtype=weights_dtype)
    gradients = []
    for critic, loss in ((plain, torch.compile(Penalty(plain), fullgraph=True)), (fast, Penalty(fast))):
        with torch.autocast("cpu", dtype, enabled=dtype == torch.bfloat16):
            value = loss(images)
        value.backward()
        gradients.append([parameter.grad for parameter in critic.parameters() if parameter.grad is not None])
    for compiled, eager in zip(*gradients, strict=True):
        assert (compiled - eager).norm() <= rounding * eager.norm()


@pytest.mark.slow
def test_a_compiler_does_not_trace_layers_whose_derivatives_it_computes_wrongly() -> None:
    layer = use_fast_ops(nn.Sequential(nn.Conv2d(3, 2, 4, 2, 1)))
    x = draw(2, 3, 8, 8, dtype=torch.float32)
    with pytest.raises(Exception, match="fast operations cannot be compiled"):
        torch.compile(layer, fullgraph=True)(x)
    # Without fullgraph the layer runs as it is.
    given = x.clone().requires_grad_()
    torch.compile(layer)(given).sum().backward()
    assert given.grad is not None
    torch.testing.assert_close(given.grad, input_gradient(layer, x), rtol=1e-4, atol=1e-5)
