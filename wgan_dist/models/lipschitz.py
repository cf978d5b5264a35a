"""A critic of Lipschitz constant 1 by construction: orthonormal matrices between activations that sort pairs.

Each layer is 1-Lipschitz for the Euclidean norm, and so is their composition. No penalty is needed: the mean difference
of the scores of two distributions is at most their Wasserstein distance W₁ (Kantorovich and Rubinstein 1958).
"""

import itertools
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from wgan_dist.models.layers import Critic, no_autocast
from wgan_dist.models.map_sizes import MapSizes, doublings

# The side of the squares of pixels that become the channels of one.
PATCH = 2
# The number of channels doubles with every halving of the size, up to this multiple of `features`.
MAX_MULTIPLE = 4
# The directions in which a quarter of the channels each moves by one pixel: (rows, columns).
SHIFTS = ((1, 0), (-1, 0), (0, 1), (0, -1))
HIDDEN_LAYERS = 3
# How far above 1 the bound of the Lipschitz constant may be: float32's rounding stays far below it.
LIPSCHITZ_TOLERANCE = 1e-3


class OrthonormalLinear(nn.Module):
    """A dense layer over the last axis, whose weight [out, in] has orthonormal rows or, if out > in, columns.

    All singular values of the weight are 1. It is the Cayley transform of free parameters, for rectangular matrices as
    in Trockman and Kolter (2021, section 3), of V = [U; B] with U square:

        A = U − Uᵀ + BᵀB,  Q = [(I − A)(I + A)⁻¹; −2B(I + A)⁻¹],  QᵀQ = I.

    I + A is invertible for every V, so that nothing is iterated and no state is kept. The transform is computed in the
    precision of the parameters, also under autocast.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.is_tall = out_features >= in_features
        rows, columns = max(in_features, out_features), min(in_features, out_features)
        self.free = nn.Parameter(torch.empty(rows, columns))
        self.bias = nn.Parameter(torch.zeros(out_features))
        if not self.free.is_meta:
            nn.init.normal_(self.free, std=rows**-0.5)

    @property
    def weight(self) -> Tensor:
        """The orthonormal weight [out_features, in_features], in the data type of the parameters."""
        with no_autocast(self.free):
            columns = self.free.shape[1]
            identity = torch.eye(columns, dtype=self.free.dtype, device=self.free.device)
            square, rest = self.free[:columns], self.free[columns:]
            to_invert = identity + square - square.T + rest.T @ rest
            # Without a check of the result, for which a GPU would wait: the matrix is never singular.
            inverse = torch.linalg.solve_ex(to_invert, identity, check_errors=False).result
            weight = torch.cat([2.0 * inverse - identity, -2.0 * rest @ inverse])
        return weight if self.is_tall else weight.T

    def forward(self, input: Tensor) -> Tensor:
        """Map [..., in_features] to [..., out_features]."""
        return linear(input, self.weight, self.bias)


class MaxMin(nn.Module):
    """Sort pairs of features (GroupSort with groups of two; Anil et al. 2019, section 4.1).

    It permutes the values of a sample, so that it changes no gradient norm, unlike ReLU. The last axis has an even
    length.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Return the greater values of all pairs, then the smaller ones: [..., features] → [..., features]."""
        first, second = input.chunk(2, -1)
        return torch.cat([torch.maximum(first, second), torch.minimum(first, second)], -1)


class PatchesToChannels(nn.Module):
    """Make the pixels of each 2×2 square the channels of one, a permutation of values."""

    def forward(self, input: Tensor) -> Tensor:
        """Map [n, h, w, c] to [n, h / 2, w / 2, 4c]."""
        count, height, width, channels = input.shape
        squares = input.reshape(count, height // PATCH, PATCH, width // PATCH, PATCH, channels)
        return squares.transpose(2, 3).reshape(count, height // PATCH, width // PATCH, PATCH**2 * channels)


class ShiftChannels(nn.Module):
    """Move a quarter of the channels by one pixel in each direction, around the edges: a permutation of values.

    Between two orthonormal layers it lets each pixel see its neighbours: together they are an orthogonal convolution,
    as in BCOP (Li et al. 2019), with projections onto coordinate axes.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Map [n, h, w, c] to the same shape."""
        parts = input.tensor_split(len(SHIFTS), -1)
        return torch.cat([part.roll(shift, (1, 2)) for part, shift in zip(parts, SHIFTS, strict=True)], -1)


class ChannelsLast(nn.Module):
    """Map images [n, c, h, w] to [n, h, w, c]."""

    def forward(self, input: Tensor) -> Tensor:
        """Return a view."""
        return input.permute(0, 2, 3, 1)


def _even(features: int) -> int:
    return features + features % 2


def _dense_layers(in_features: int, features: int) -> list[nn.Module]:
    widths = [in_features, *[_even(features)] * HIDDEN_LAYERS]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(widths):
        layers += [OrthonormalLinear(before, after), MaxMin()]
    return [*layers, OrthonormalLinear(widths[-1], 1)]


def _convolutions(channels: int, features: int, map_sizes: MapSizes) -> list[nn.Module]:
    halvings = int(math.log2(map_sizes.factor))
    widths = [channels, *(_even(features) * min(2**layer, MAX_MULTIPLE) for layer in range(halvings))]
    layers: list[nn.Module] = [ChannelsLast()]
    for before, after in itertools.pairwise(widths):
        layers += [PatchesToChannels(), OrthonormalLinear(PATCH**2 * before, after), MaxMin()]
        layers += [ShiftChannels(), OrthonormalLinear(after, after), MaxMin()]
    return [*layers, nn.Flatten(), OrthonormalLinear(math.prod(map_sizes.smallest) * widths[-1], 1)]


class LipschitzCritic(Critic):
    """A critic whose scores of two samples differ by at most their Euclidean distance.

    For points [n, d] it has three hidden layers of f features, for images the layers of a DCGAN: at 64×64 orthogonal
    convolutions with f, 2f, 4f, 4f channels.
    """

    def __init__(self, image_size: tuple[int, int], channels: int, features: int, norm: str) -> None:
        super().__init__()
        self.map_sizes = None if image_size == (1, 1) else MapSizes(image_size, PATCH ** doublings(image_size))
        layers = (
            _convolutions(channels, features, self.map_sizes) if self.map_sizes else _dense_layers(channels, features)
        )
        self.body = nn.Sequential(*layers)

    def features(self, samples: Tensor, masks: Sequence[Tensor] = ()) -> Tensor:
        """Map images [n, channels, h, w] in [−1, 1], or points [n, channels], to features [n, …]."""
        return super().features(self.map_sizes.pad(samples) if self.map_sizes else samples)


def _orthonormal_layers(network: nn.Module) -> Iterator[tuple[str, OrthonormalLinear]]:
    return ((name, module) for name, module in network.named_modules() if isinstance(module, OrthonormalLinear))


def is_lipschitz(network: nn.Module) -> bool:
    """Return whether a network is a `LipschitzCritic`, or one that takes labels around it."""
    return isinstance(network, LipschitzCritic) or isinstance(getattr(network, "critic", None), LipschitzCritic)


@torch.no_grad()
def lipschitz_bound(critic: nn.Module) -> float:
    """Return the product of the greatest singular values of all layers of a `LipschitzCritic`, computed in float64.

    It bounds the Lipschitz constant for the Euclidean norm: the other layers permute values. It is 1 but for rounding.
    """
    greatest = (torch.linalg.svdvals(layer.weight.double().cpu())[0] for _, layer in _orthonormal_layers(critic))
    return math.prod(float(value) for value in greatest)
