"""Layers that several networks share."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, pad

LEAKY_SLOPE = 0.2
BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d
# An attention's keys, queries and values have this fraction of the feature map's channels.
ATTENTION_REDUCTION = 8
# Added to the variance, since the derivative of the square root is infinite at 0.
MINIBATCH_EPSILON = 1e-8
# The samples that minibatch standard deviation compares with one another (Karras et al. 2020, their configuration).
MINIBATCH_GROUP = 4


class InstanceNorm2d(nn.InstanceNorm2d):
    """Instance normalisation in the precision of its weights: in fp16 the double backward overflows."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each map of [n, c, h, w]; returns the input's shape and dtype."""
        return super().forward(input.to(self.weight.dtype)).to(input.dtype)


class LayerNorm2d(nn.GroupNorm):
    """Layer normalisation over all values of a sample, with a scale for each channel, in the precision of its
    weights."""

    def __init__(self, channels: int) -> None:
        super().__init__(1, channels)

    def forward(self, input: Tensor) -> Tensor:
        """Normalise each sample of [n, c, h, w]; returns the input's shape and dtype."""
        return super().forward(input.to(self.weight.dtype)).to(input.dtype)


class TakesLabels(nn.Module):
    """A layer whose forward takes the labels of the samples, int64 [n] or None without classes, as second argument."""


class ConditionalBatchNorm(TakesLabels):
    """BatchNorm with a scale and a shift for each class (Dumoulin et al. 2017, section 2.2; de Vries et al. 2017).

    Args:
        norm: BatchNorm without a scale and shift of its own.
        classes: The number of classes.
    """

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, classes: int) -> None:
        super().__init__()
        self.norm: nn.Module = norm
        self.affine = nn.Embedding(classes, 2 * norm.num_features)
        with torch.no_grad():
            scale, shift = self.affine.weight.chunk(2, 1)
            scale.fill_(1.0)
            shift.zero_()

    def forward(self, input: Tensor, labels: Tensor) -> Tensor:
        """Normalise [n, c, …] and scale each sample by its class, labels int64 [n], in the precision of the weights.

        Returns the input's shape and dtype.
        """
        per_sample = self.affine(labels).unflatten(1, (-1, *[1] * (input.dim() - 2)))
        # Two slices rather than a split, which older operator sets of ONNX lack.
        channels = input.shape[1]
        scale, shift = per_sample[:, :channels], per_sample[:, channels:]
        return torch.addcmul(shift, self.norm(input).to(scale.dtype), scale).to(input.dtype)


def batch_norm(
    channels: int, classes: int, layer: type[BatchNorm] = nn.BatchNorm2d, eps: float = 1e-5, momentum: float = 0.1
) -> nn.Module:
    """Return BatchNorm for inputs [n, channels, …], class-conditional unless `classes` is 0."""
    norm = layer(channels, eps, momentum, affine=not classes)
    return ConditionalBatchNorm(norm, classes) if classes else norm


class LabelSequential(nn.Sequential, TakesLabels):
    """A sequence of layers, of which some take labels."""

    def forward(self, input: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the output of the last layer, from the input of the first one and, with classes, labels int64 [n]."""
        for layer in self:
            input = layer(input, labels) if isinstance(layer, TakesLabels) else layer(input)
        return input


def norm_2d(norm: str, channels: int, classes: int = 0) -> list[nn.Module]:
    """Return the layer named `norm` for feature maps [n, channels, h, w], or no layer for "none".

    BatchNorm is class-conditional unless `classes` is 0.
    """
    if norm == "batch":
        return [batch_norm(channels, classes)]
    if norm == "instance":
        return [InstanceNorm2d(channels, affine=True)]
    if norm == "layer":
        return [LayerNorm2d(channels)]
    return []


def has_batchnorm(network: nn.Module) -> bool:
    """Return whether a network has BatchNorm, so that a sample's score depends on the rest of its batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def leaky_relu() -> nn.Module:
    return nn.LeakyReLU(LEAKY_SLOPE)


def _sum_of_shifts(kernel: Tensor) -> Tensor:
    """Return the sum of a 3×3 kernel at the four positions of a 2×2 square, a 4×4 kernel."""
    padded = pad(kernel, (1, 1, 1, 1))
    rows = padded[..., 1:, :] + padded[..., :-1, :]
    return rows[..., 1:] + rows[..., :-1]


def downsample_kernel(weight: Tensor) -> Tensor:
    """Return the 4×4 kernel [o, c, 4, 4] of ConvDownsample from its weight [o, c, 3, 3]."""
    return 0.25 * _sum_of_shifts(weight)


def upsample_kernel(weight: Tensor) -> Tensor:
    """Return the 4×4 kernel [c, o, 4, 4] of UpsampleConv from its weight [o, c, 3, 3]."""
    return _sum_of_shifts(weight.flip(2, 3).transpose(0, 1))


class ConvDownsample(nn.Conv2d):
    """A 3×3 convolution followed by 2×2 mean pooling, computed as one 4×4 convolution with stride 2.

    The results are equal up to rounding, at 16 multiplications instead of 36 (Karras et al. 2018, the fused scaling of
    their code).
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map [n, in_channels, h, w] to [n, out_channels, h / 2, w / 2]."""
        return conv2d(input, downsample_kernel(self.weight), self.bias, stride=2, padding=1)


class UpsampleConv(nn.Conv2d):
    """Nearest-neighbour ×2 upsampling followed by a 3×3 convolution, computed as one transposed 4×4 convolution, as in
    ConvDownsample."""

    def kernel(self) -> Tensor:
        """Return the weight of the transposed convolution, [in_channels, out_channels, 4, 4]."""
        return upsample_kernel(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        """Map [n, in_channels, h, w] to [n, out_channels, 2h, 2w]."""
        return conv_transpose2d(input, self.kernel(), self.bias, stride=2, padding=1)


def no_autocast(x: Tensor) -> AbstractContextManager[object]:
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.is_autocast_enabled(device) else nullcontext()


class SelfAttention2d(nn.Module):
    """Self-attention over positions, y = γ · v(o) + x (Zhang et al. 2019, eq. 1–3).

    o is the mean of h over all positions, weighted by the softmax of fᵀg. γ starts at 0, so an untrained layer returns
    its input. Torch's fused attention has no double backward, which a critic under a gradient penalty needs. The
    products fᵀg and the softmax are never in half precision.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        reduced = max(1, channels // ATTENTION_REDUCTION)
        self.f, self.g, self.h = (nn.Conv2d(channels, reduced, 1) for _ in range(3))
        self.v = nn.Conv2d(reduced, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Map [n, c, h, w] to the same shape."""
        keys, queries, values = (layer(x).flatten(2) for layer in (self.f, self.g, self.h))
        with no_autocast(x):
            precise = self.gamma.dtype
            scores = queries.to(precise).transpose(1, 2) @ keys.to(precise)  # [n, query position, key position]
        weights = scores.softmax(2).to(values.dtype)
        attended = (values @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        return self.gamma * self.v(attended) + x


def _group_deviation(groups: Tensor) -> Tensor:
    """Return the standard deviation within groups [m, k, c, h, w], averaged over c, h and w: [m].

    Torch's `var` over an axis that is not the last one takes ten times as long on a CPU.
    """
    variances = (groups - groups.mean(1, keepdim=True)).square().mean(1)
    return (variances + MINIBATCH_EPSILON).sqrt().flatten(1).mean(1)


class MinibatchStandardDeviation(nn.Module):
    """Append a map that shows a critic how varied the samples are (Karras et al. 2018, section 3).

    Its value is the standard deviation of each feature within a group of four consecutive samples, averaged over
    features and positions. Samples that are left over form a smaller group. A sample's score then depends on its group.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map [n, c, h, w] to [n, c + 1, h, w] in the data type of the input, computing in float32 or better."""
        count, _, height, width = input.shape
        whole = count - count % MINIBATCH_GROUP
        parts = (input[:whole].unflatten(0, (-1, MINIBATCH_GROUP)), input[whole:][None])
        precise = torch.promote_types(input.dtype, torch.float32)
        values = [_group_deviation(part.to(precise)).repeat_interleave(part.shape[1]) for part in parts if part.numel()]
        deviation = torch.cat(values).to(input.dtype).view(-1, 1, 1, 1)
        return torch.cat([input, deviation.expand(-1, 1, height, width)], 1)


class Critic(nn.Module):
    """A network that gives each sample a scalar score, which is linear in the features of the sample.

    `body` maps [n, …] to n values; its last layer maps features to scores.

    A critic with dropout lists each dropout layer's rate and the shape of one sample's values in `dropouts`, and its
    forward takes their masks as a second argument; without masks it drops nothing. The caller draws the masks.
    """

    body: nn.Sequential
    dropouts: Sequence[tuple[float, tuple[int, ...]]] = ()

    @property
    def output_layer(self) -> nn.Module:
        """The layer that maps features to scores; its weight has one value for each feature."""
        return self.body[-1]

    def features(self, samples: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Map samples and, for a critic with dropout, masks to the features [n, …] of which the score is linear."""
        *hidden, _ = self.body
        for layer in hidden:
            samples = layer(samples)
        return samples

    def forward(self, samples: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Map images [n, channels, height, width] in [−1, 1], or points [n, d], to unbounded scores [n]."""
        return self.output_layer(self.features(samples, masks)).flatten()
