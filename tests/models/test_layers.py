"""Layers that compute what plainer ones do: held against those."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate
from torch.utils._python_dispatch import TorchDispatchMode

from wgan_dist.losses.modules import LOSSES, PENALTIES, CriticLoss, CriticMasks
from wgan_dist.models.layers import ConvDownsample, UpsampleConv, without_second_derivatives
from wgan_dist.models.registry import build_critic, critic_spec


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def in_two_steps(layer: nn.Conv2d, x: Tensor) -> Tensor:
    if isinstance(layer, ConvDownsample):
        return avg_pool2d(conv2d(x, layer.weight, layer.bias, padding=1), 2)
    return conv2d(interpolate(x, scale_factor=2.0), layer.weight, layer.bias, padding=1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", [ConvDownsample, UpsampleConv])
def test_one_convolution_equals_two_steps_with_its_gradients(kind: type[nn.Conv2d], bias: bool) -> None:
    torch.manual_seed(0)
    layer = kind(3, 5, 3, padding=1, bias=bias).double()
    x = draw(2, 3, 6, 8).double().requires_grad_()
    torch.testing.assert_close(layer(x), in_two_steps(layer, x), rtol=0, atol=1e-14)
    inputs = [x, *layer.parameters()]
    ours, theirs = (torch.autograd.grad(form.square().sum(), inputs) for form in (layer(x), in_two_steps(layer, x)))
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-13, atol=1e-13)


def gradients(critic: nn.Module, shape: tuple[int, ...], draws: int = 4) -> tuple[Tensor, list[Tensor]]:
    objective = CriticLoss(critic, LOSSES["wasserstein"], PENALTIES["gp"], 10.0)
    real, fake = draw(draws, *shape), draw(draws, *shape, seed=1)
    loss, _ = objective(real, fake, torch.rand(draws, generator=torch.Generator().manual_seed(2)), CriticMasks())
    return loss, list(torch.autograd.grad(loss, list(critic.parameters())))


CRITICS = [
    ("resnet", 32, "none"),
    ("resnet", 64, "layer"),
    ("dcgan", 32, "instance"),
    ("dcgan", 32, "none"),
    ("mlp", 28, "auto"),
    ("upsample", 28, "auto"),
    ("sagan", 32, "none"),
]


@pytest.mark.parametrize(("name", "size", "norm"), CRITICS)
def test_without_second_derivatives_gradients_are_the_same_to_the_last_bit(name: str, size: int, norm: str) -> None:
    plain = build_critic(critic_spec(name, size, 3, 8, norm), seed=3)
    straight = without_second_derivatives(copy.deepcopy(plain))
    assert list(straight.state_dict()) == list(plain.state_dict())
    assert not any(type(module) in (nn.ReLU, nn.LeakyReLU) for module in straight.modules())
    ours, theirs = (gradients(critic, (3, size, size)) for critic in (straight, plain))
    assert torch.equal(ours[0], theirs[0])
    assert all(torch.equal(mine, other) for mine, other in zip(ours[1], theirs[1], strict=True))


@pytest.mark.parametrize("value", [0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1e-40])
@pytest.mark.parametrize("plain", [nn.ReLU(), nn.LeakyReLU(0.2)])
def test_of_any_number_at_all_it_is_torchs_own_activation(plain: nn.Module, value: float) -> None:
    straight = without_second_derivatives(nn.Sequential(copy.deepcopy(plain)))
    x = torch.tensor([value, 1.0, -1.0], requires_grad=True)
    found, expected = (torch.autograd.grad(form(x).sum(), x)[0] for form in (straight, plain))
    torch.testing.assert_close(straight(x), plain(x), rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


class CountConvolutions(TorchDispatchMode):
    """Counts the backward passes of convolutions."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += func is torch.ops.aten.convolution_backward.default
        return func(*args, **(kwargs or {}))


def test_a_critic_without_norms_runs_no_convolution_over_zeros() -> None:
    critic = build_critic(critic_spec("resnet", 32, 3, 4, "none"), seed=0)
    convolutions = sum(isinstance(module, nn.Conv2d) for module in critic.modules())
    for network, each in ((copy.deepcopy(critic), 3), (without_second_derivatives(critic), 2)):
        with CountConvolutions() as counted:
            gradients(network, (3, 32, 32))
        # One for the scores, one for the inner gradient; torch adds one through second derivatives that are zero.
        assert counted.count == each * convolutions


class PreActivation(nn.Module):
    """Whose activation changes what is added to it: the usual in-place block."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.convolution = nn.ReLU(inplace=True), nn.Conv2d(2, 2, 1)

    def forward(self, h: Tensor) -> Tensor:
        return h + self.convolution(self.relu(h))


def test_an_activation_that_works_in_place_or_is_watched_is_left_alone() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 1), PreActivation(), nn.LeakyReLU(0.2), nn.ReLU())
    seen: list[Tensor] = []
    network[2].register_forward_hook(lambda module, given, found: seen.append(found))
    x = draw(2, 3, 4, 4)
    expected = copy.deepcopy(network)(x)
    assert torch.equal(without_second_derivatives(network)(x), expected)
    _, block, watched, plain = network
    assert type(block.relu) is nn.ReLU
    assert type(watched) is nn.LeakyReLU
    assert type(plain) is not nn.ReLU
