"""Pieces that several networks share."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, pad

LEAKY_SLOPE = 0.2
# Channels of an attention's keys, queries and values, as a share of the feature map's.
ATTENTION_SHARE = 8


class InstanceNorm2d(nn.InstanceNorm2d):
    """torch's, in the precision of its weights, not of its input: fp16 overflows in its double backward."""

    def forward(self, input: Tensor) -> Tensor:
        """[n, c, h, w] → the same shape and dtype, each map normalised by itself."""
        return super().forward(input.to(self.weight.dtype)).to(input.dtype)


class LayerNorm2d(nn.GroupNorm):
    """Over all values of a sample, with a scale per channel, in the precision of its weights as InstanceNorm2d."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)

    def forward(self, input: Tensor) -> Tensor:
        """[n, c, h, w] → the same shape and dtype, each sample normalised by itself."""
        return super().forward(input.to(self.weight.dtype)).to(input.dtype)


def norm_2d(kind: str, channels: int) -> list[nn.Module]:
    """The normalisation `kind` over feature maps [n, channels, h, w]; none gives no layer."""
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    if kind == "instance":
        return [InstanceNorm2d(channels, affine=True)]
    if kind == "layer":
        return [LayerNorm2d(channels)]
    return []


def leaky_relu() -> nn.Module:
    return nn.LeakyReLU(LEAKY_SLOPE)


def _spread(kernel: Tensor) -> Tensor:
    """Kernels 3×3 → 4×4: the sum of the kernel at the four places of a 2×2 square."""
    around = pad(kernel, (1, 1, 1, 1))
    rows = around[..., 1:, :] + around[..., :-1, :]
    return rows[..., 1:] + rows[..., :-1]


class ConvDownsample(nn.Conv2d):
    """A 3×3 convolution and the mean over 2×2 places, as one 4×4 convolution in steps of two (Karras et al. 2018,
    their code's fused scaling): equal but for rounding, at 16 products for 36."""

    def kernel(self) -> Tensor:
        """Of the 4×4 convolution, [following, c, 4, 4]."""
        return 0.25 * _spread(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        """[n, c, h, w] → [n, following, h / 2, w / 2]."""
        return conv2d(input, self.kernel(), self.bias, stride=2, padding=1)


class UpsampleConv(nn.Conv2d):
    """Every place doubled and a 3×3 convolution, as one transposed 4×4 convolution: as ConvThenHalve."""

    def kernel(self) -> Tensor:
        """Of the transposed convolution, [c, following, 4, 4]."""
        return _spread(self.weight.flip(2, 3).transpose(0, 1))

    def forward(self, input: Tensor) -> Tensor:
        """[n, c, h, w] → [n, following, 2h, 2w]."""
        return conv_transpose2d(input, self.kernel(), self.bias, stride=2, padding=1)


class _StraightReLU(nn.ReLU):
    """torch's, as the product with a mask that it is: autograd then knows that there is no second derivative."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape → the same."""
        return torch.ops.aten.threshold_backward(input, input.detach(), 0.0)


class StraightLeakyReLU(nn.LeakyReLU):
    """torch's, as _StraightReLU."""

    def forward(self, input: Tensor) -> Tensor:
        """Any shape → the same."""
        return torch.ops.aten.leaky_relu_backward(input, input.detach(), self.negative_slope, False)


def without_second_derivatives(network: nn.Module) -> nn.Module:
    """The same network, with every ReLU and LeakyReLU as a product with constants, but for those that work in place or
    have hooks: others may see what these do.

    Their second derivative is zero. Torch returns those zeros, and a penalty's backward then runs convolutions over
    them: a third of its work in a critic without norm layers. Values and gradients are the same to the last bit.
    """
    for name, child in network.named_children():
        if type(child) not in (nn.ReLU, nn.LeakyReLU):
            without_second_derivatives(child)
        elif not (child.inplace or child._forward_hooks or child._forward_pre_hooks or child._backward_hooks):
            straight = StraightLeakyReLU(child.negative_slope) if isinstance(child, nn.LeakyReLU) else _StraightReLU()
            setattr(network, name, straight)
    return network


def _no_autocast(x: Tensor) -> AbstractContextManager[object]:
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


class SelfAttention2d(nn.Module):
    """y = γ · v(o) + x, where o weighs every place's h by its likeness to this one (Zhang et al. 2019, eq. 1–3).

    γ starts at 0, so an untrained layer passes its input on. The attention is written out: torch's fused one has no
    double backward, which a critic under a gradient penalty needs. Likeness and softmax are never in half precision.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // ATTENTION_SHARE)
        self.f, self.g, self.h = (nn.Conv2d(channels, inner, 1) for _ in range(3))
        self.v = nn.Conv2d(inner, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] → the same shape."""
        keys, queries, values = (part(x).flatten(2) for part in (self.f, self.g, self.h))
        with _no_autocast(x):
            precise = self.gamma.dtype
            likeness = queries.to(precise).transpose(1, 2) @ keys.to(precise)  # [n, place, place looked at]
        weights = likeness.softmax(2).to(values.dtype)
        gathered = (values @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return self.gamma * self.v(gathered) + x


@torch.no_grad()
def init_dcgan(network: nn.Module) -> None:
    """Weights N(0, 0.02), norm scales N(1, 0.02), shifts 0 (Radford et al. 2016, section 3)."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            module.weight.normal_(0.0, 0.02)
        elif isinstance(module, (nn.BatchNorm2d, nn.InstanceNorm2d, nn.GroupNorm)):
            module.weight.normal_(1.0, 0.02)
        else:
            continue
        if module.bias is not None:
            module.bias.zero_()


@torch.no_grad()
def init_glorot(network: nn.Module) -> None:
    """Weights of dense layers and convolutions U(±√(6 / (fan in + fan out))), biases 0 (Glorot and Bengio 2010)."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                module.bias.zero_()


class Critic(nn.Module):
    """A scalar score per sample; `body` must map [n, …] to n values.

    A critic with dropout lists its layers in `dropouts`, rate and shape of one sample's values each, and its forward
    takes their masks as a second argument, without which it drops nothing: random draws are the caller's.
    """

    body: nn.Module
    dropouts: Sequence[tuple[float, tuple[int, ...]]] = ()

    def forward(self, samples: Tensor) -> Tensor:
        """images [n, channels, size, size] in [−1, 1], or points [n, 2] → scores [n], unbounded."""
        return self.body(samples).flatten()
