"""Single operations: optimizers against the CPU's, fast operations against torch's, penalties in half precision."""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from tests.gpu_session.machine import Machine, draw, greatest_difference, set_flags
from tests.gpu_session.small_runs import settings_in, small_run
from tests.gpu_session.table import Row, at_most, holds
from wgan_dist.config.image_size import square
from wgan_dist.losses.adversarial import LOSSES
from wgan_dist.losses.gradient_penalty import PENALTIES, gradient_norms, two_sided_penalty
from wgan_dist.losses.modules import CriticLoss, CriticMasks
from wgan_dist.models.fast_layers import use_fast_ops, without_second_derivatives
from wgan_dist.models.registry import build_critic, critic_spec
from wgan_dist.ops.conv import conv2d, conv_transpose2d
from wgan_dist.ops.double_backward import input_gradient
from wgan_dist.ops.instance_norm import instance_norm
from wgan_dist.training.buffer_snapshot import BufferSnapshot
from wgan_dist.training.grad_scaler import GradScaler

UPDATES, SKIPPED_UPDATE = 6, 2
# The loss scale of the penalty in fp16.
SCALE = 2.0**7
EPSILON = 1e-5
# Kernel, stride, padding and size of the input: of DCGAN's layers, its last one, ResNet's, and an odd one.
GEOMETRIES = [(4, 2, 1, 16), (4, 1, 0, 4), (3, 1, 1, 8), (5, 2, 2, 9)]
LAYOUTS = (torch.channels_last, torch.contiguous_format)
CRITICS = [("dcgan", "instance"), ("dcgan", "layer"), ("resnet", "none")]

Function = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Precision:
    """The dtype of weights, that of autocast if there is one, and how far from float64 rounding may lead."""

    name: str
    dtype: torch.dtype
    autocast: torch.dtype | None
    limit: float

    def autocast_on(self, device: torch.device) -> torch.autocast:
        """Return the context in which to compute on a device."""
        return torch.autocast(device.type, self.autocast, enabled=self.autocast is not None)


PRECISIONS = [
    Precision("float64", torch.float64, None, 1e-11),
    Precision("float32", torch.float32, None, 1e-3),
    Precision("bf16", torch.float32, torch.bfloat16, 0.1),
]


# --- optimizers ---


def _optimize(like: Optimizer, device: torch.device, dtype: torch.dtype) -> tuple[list[Tensor], int]:
    """Take updates of which one has an infinite gradient; return the parameters and the number of skipped updates."""
    parameters = [nn.Parameter(draw(*shape, seed=1).to(device, dtype)) for shape in ((5, 3, 4, 4), (7,))]
    optimizer = type(like)(parameters, **like.defaults)
    scaler = GradScaler(optimizer, BufferSnapshot([]), device, dynamic=False)
    for update in range(UPDATES):
        optimizer.zero_grad()
        gradients = [draw(*parameter.shape, seed=10 + update).to(device, dtype) for parameter in parameters]
        if update == SKIPPED_UPDATE:
            gradients[0][0, 0, 0, 0] = float("inf")
        products = [(parameter * gradient).sum() for parameter, gradient in zip(parameters, gradients, strict=True)]
        scaler.backward(torch.stack(products).sum())
        scaler.step()
    return [parameter.detach() for parameter in parameters], scaler.state().skipped


def optimizers(machine: Machine) -> Iterator[Row]:
    """Compare the optimizers of runs on the device with those on the CPU, one update of several skipped."""
    for name in ("adam", "rmsprop"):
        optimizer = small_run(settings_in(machine.scratch, optimizer=name)).gan.critic.optimizer
        for dtype, limit in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
            found, skipped = _optimize(optimizer, machine.device, dtype)
            expected, _ = _optimize(optimizer, torch.device("cpu"), dtype)
            yield at_most(f"{name}, {dtype}, against the CPU", greatest_difference(found, expected), limit)
        yield holds(
            f"{name}, an infinite gradient", skipped == 1, f"{skipped} of {UPDATES} updates skipped (1 expected)"
        )


# --- fast operations ---


@dataclass(frozen=True)
class Operation:
    """A fast operation and torch's own, as functions of an input and a weight, and the shapes of both."""

    name: str
    ours: Function
    theirs: Function
    x: tuple[int, ...]
    weight: tuple[int, ...]


def _convolution(kernel: int, stride: int, padding: int, size: int) -> Operation:
    arguments = None, (stride, stride), (padding, padding)
    return Operation(
        f"{kernel}×{kernel}, stride {stride}",
        lambda x, w: conv2d(x, w, *arguments),
        lambda x, w: F.conv2d(x, w, *arguments),
        (4, 3, size, size),
        (5, 3, kernel, kernel),
    )


def _transposed_convolution(kernel: int, stride: int, padding: int, size: int) -> Operation:
    arguments, positions = (None, (stride, stride), (padding, padding)), (size + 2 * padding - kernel) // stride + 1
    return Operation(
        f"{kernel}×{kernel}, stride {stride}",
        lambda x, w: conv_transpose2d(x, w, *arguments),
        lambda x, w: F.conv_transpose2d(x, w, *arguments),
        (4, 5, positions, positions),
        (5, 3, kernel, kernel),
    )


def _instance_norm() -> Operation:
    return Operation(
        "InstanceNorm",
        lambda x, w: instance_norm(x, w[0], w[1], EPSILON),
        lambda x, w: F.instance_norm(x, None, None, w[0], w[1], eps=EPSILON),
        (4, 3, 6, 6),
        (2, 3),
    )


def _activation(layer: nn.Module) -> Operation:
    masked = without_second_derivatives(nn.Sequential(copy.deepcopy(layer)))
    name = type(layer).__name__
    return Operation(name, lambda x, w: masked(x * w), lambda x, w: layer(x * w), (4, 3, 6, 6), (3, 6, 6))


def _operations() -> dict[str, list[Operation]]:
    return {
        "convolutions": [_convolution(*geometry) for geometry in GEOMETRIES],
        "transposed convolutions": [_transposed_convolution(*geometry) for geometry in GEOMETRIES],
        "InstanceNorm": [_instance_norm()],
        "activations": [_activation(nn.ReLU()), _activation(nn.LeakyReLU(0.2))],
    }


def _derivatives(function: Function, x: Tensor, weight: Tensor) -> list[Tensor]:
    """Return the value, its gradients, the gradient of x that a penalty takes, and the gradients of its square."""
    leaves = x.detach().requires_grad_(), weight.detach().requires_grad_()
    value = function(*leaves)
    first = torch.autograd.grad(value.double().sin().sum(), leaves)
    inner = input_gradient(lambda inputs: function(inputs, leaves[1]).double().sin(), x)
    (second,) = torch.autograd.grad(inner.double().square().sum(), leaves[1])
    return [value, *first, inner, second]


def _on_device(machine: Machine, value: Tensor, precision: Precision, layout: torch.memory_format) -> Tensor:
    moved = value.to(machine.device, precision.dtype)
    return moved.contiguous(memory_format=layout) if moved.dim() == 4 else moved


def _difference(machine: Machine, operation: Operation, precision: Precision) -> float:
    """Return the greatest difference of any derivative from torch's, in both memory layouts."""
    exact = [draw(*shape, seed=seed) for seed, shape in enumerate((operation.x, operation.weight))]
    expected = _derivatives(operation.theirs, *exact)
    differences = []
    for layout in LAYOUTS:
        values = [_on_device(machine, value, precision, layout) for value in exact]
        with precision.autocast_on(machine.device):
            differences.append(greatest_difference(_derivatives(operation.ours, *values), expected))
    return float(np.max(differences))


def _critic_gradient(critic: nn.Module, device: torch.device, precision: Precision) -> Tensor:
    """Return the gradient of the whole loss of a critic on a device, with its penalty, as one vector."""
    loss = CriticLoss(critic, LOSSES["wasserstein"], PENALTIES["gp"], 10.0)
    shapes = ((4, 3, 32, 32), (4, 3, 32, 32), (4,))
    values = (draw(*shape, seed=seed).tanh() for seed, shape in enumerate(shapes))
    real, fake, alpha = (value.to(device, precision.dtype) for value in values)
    with precision.autocast_on(device):
        value, _ = loss(real, fake, alpha.abs(), CriticMasks())
    return torch.cat([gradient.flatten() for gradient in torch.autograd.grad(value, list(critic.parameters()))])


def _critics(machine: Machine) -> Iterator[Row]:
    for name, norm in CRITICS:
        plain = build_critic(critic_spec(name, square(32), 3, 8, norm), 0).double()
        exact = _critic_gradient(plain, torch.device("cpu"), PRECISIONS[0])
        for precision in PRECISIONS:
            fast = use_fast_ops(without_second_derivatives(copy.deepcopy(plain))).to(machine.device, precision.dtype)
            gradients = (_critic_gradient(fast.to(memory_format=each), machine.device, precision) for each in LAYOUTS)
            difference = greatest_difference(gradients, [exact] * len(LAYOUTS))
            yield at_most(f"{name} critic, norm {norm}, {precision.name}", difference, precision.limit)


def fast_operations(machine: Machine) -> Iterator[Row]:
    """Compare fast operations with torch's in float64 on the CPU: values and derivatives, in both memory layouts."""
    set_flags(conv_tf32=False, matmul_tf32=False, benchmark=False)
    for kind, operations in _operations().items():
        for precision in PRECISIONS:
            differences = {each.name: _difference(machine, each, precision) for each in operations}
            worst = max(differences, key=lambda name: (math.isnan(differences[name]), differences[name]))
            yield at_most(f"{kind}, {precision.name}; worst: {worst}", differences[worst], precision.limit)
    yield from _critics(machine)


# --- half precision ---


def _critic_of_norm_3(images: Tensor) -> nn.Module:
    """Return a DCGAN in float64 whose gradients have norms around 3 at some images."""
    critic = build_critic(critic_spec("dcgan", square(32), 3, 8, "instance"), 0).double()
    norms = gradient_norms(input_gradient(critic, images))
    weights = [parameter for parameter in critic.parameters() if parameter.dim() > 1]
    weights[-1].data.mul_(3.0 / norms.mean())
    return critic


def _penalty(critic: nn.Module, images: Tensor, scale: Tensor | None = None) -> float:
    return float(two_sided_penalty(gradient_norms(input_gradient(critic, images, scale).detach())))


def penalties(machine: Machine) -> Iterator[Row]:
    """Compare the penalty in half precision with that in float64 on the CPU; fp16 has a loss scale."""
    images = draw(32, 3, 32, 32, seed=0).tanh()
    critic = _critic_of_norm_3(images)
    exact = _penalty(critic, images)
    critic, images = critic.to(machine.device, torch.float32), images.to(machine.device, torch.float32)
    for precision, scale in ((torch.bfloat16, None), (torch.float16, torch.tensor(SCALE, device=machine.device))):
        with torch.autocast(machine.device.type, precision):
            found = _penalty(critic, images, scale)
        yield at_most(f"penalty, {precision}", abs(found / exact - 1.0), 1e-2)
