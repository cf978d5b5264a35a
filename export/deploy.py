"""The same function in layers that compute faster: no BatchNorm, and other layers for transposed convolutions.

A network of one's own may be anything. What is not known here stays as it is, and what was rewritten is held against
the network as it was: a gain in speed never costs an export.
"""

import copy
import math
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.functional import pad
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from wgan_dist.models.layers import UpsampleConv
from wgan_dist.ops.conv import flattened, unfolded
from wgan_dist.utils import rng

# Up to this many channels one 3×3 convolution costs less than four: kernels compute 16 channels or none.
FEW_CHANNELS = 4
# A CPU's kernels put the weights of a convolution in order at every call, which for few places takes longer than the
# rest. Up to so many it is faster in float32 as four convolutions (1024 to 512 channels, 16 places, 1 to 64 latents:
# 0.16 to 0.8 of the transposed one's time), in bfloat16 as four products of matrices (there 0.25 to 0.7 of the four
# convolutions' time; 512 to 256 channels, 64 places: 0.4 to 1.1).
FEW_PLACES, FEW_PLACES_IN_HALF = 16, 64
# Latents on which a rewritten network is compared with the one it was, and by how many units of rounding, relative to
# the greatest value, the two may differ: in float32 3e-5 in images of [-1, 1].
COMPARED, ROUNDINGS = 5, 256


class Dense4x4(nn.Module):
    """A transposed convolution of one place, as the dense layer that it is."""

    def __init__(self, layer: nn.ConvTranspose2d, activation: nn.Module) -> None:
        super().__init__()
        self.shape = (layer.out_channels, *layer.kernel_size)
        dense = nn.Linear(layer.in_channels, math.prod(self.shape))
        # Values of a place together: what follows reads them so.
        weight = layer.weight.detach().permute(2, 3, 1, 0).reshape(-1, layer.in_channels)
        self.dense = _filled(dense, weight, _bias(layer).repeat(math.prod(layer.kernel_size)))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, 1, 1] → [n, following, k, k]."""
        channels, height, width = self.shape
        values = self.activation(self.dense(x.flatten(1)))
        return values.reshape(-1, height, width, channels).permute(0, 3, 1, 2)


Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def _filled(layer: Layer, weight: Tensor, bias: Tensor | None) -> Layer:
    """A layer with weights that are there."""
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def _bias(layer: nn.ConvTranspose2d) -> Tensor:
    return layer.weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias.detach()


def _phases(layer: nn.ConvTranspose2d) -> list[Tensor]:
    """Weights of the four 2×2 convolutions that give every second row and column, 00, 01, 10 and 11 of a 2×2 square:
    output 2i + row takes input i + row − 1 by tap 3 − row, and input i + row by tap 1 − row.
    """
    weight = layer.weight.detach().transpose(0, 1)
    taps = ([3, 1], [2, 0])
    return [weight[:, :, rows][:, :, :, columns].contiguous() for rows in taps for columns in taps]


def _interleave(phases: list[Tensor]) -> Tensor:
    """Phases 00, 01, 10, 11, each [n, c, h, w] → [n, c, 2h, 2w]; with the channels last all of it is copying."""
    n, (channels, height, width) = -1, phases[0].shape[1:]
    last = [phase.permute(0, 2, 3, 1) for phase in phases]
    rows = [torch.cat(pair, 3).reshape(n, height, 1, 2 * width * channels) for pair in (last[:2], last[2:])]
    return torch.cat(rows, 2).reshape(n, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


class FourPhases(nn.Module):
    """A transposed convolution 4/2/1 as four 2×2 convolutions, one for each parity of row and column: exact.

    The activation that follows comes before the values are put in order, which it does not mind.
    """

    def __init__(self, layer: nn.ConvTranspose2d, activation: nn.Module) -> None:
        super().__init__()
        self.phases = nn.ModuleList()
        for taps in _phases(layer):
            phase = nn.Conv2d(layer.in_channels, layer.out_channels, 2)
            self.phases.append(_filled(phase, taps, _bias(layer).clone()))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] → [n, following, 2h, 2w]."""
        made = []
        for number, phase in enumerate(self.phases):
            row, column = divmod(number, 2)
            made.append(self.activation(phase(pad(x, (1 - column, column, 1 - row, row)))))
        return _interleave(made)


class FourProducts(nn.Module):
    """The same as `FourPhases`, each phase as a dense layer of what its places see."""

    def __init__(self, layer: nn.ConvTranspose2d, activation: nn.Module) -> None:
        super().__init__()
        self.phases = nn.ModuleList()
        for taps in _phases(layer):
            phase = nn.Linear(4 * layer.in_channels, layer.out_channels)
            self.phases.append(_filled(phase, flattened(taps), _bias(layer).clone()))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] → [n, following, 2h, 2w]."""
        height, width = x.shape[2:]
        padded = pad(x, (1, 1, 1, 1))
        made = []
        for number, phase in enumerate(self.phases):
            row, column = divmod(number, 2)
            part = padded[:, :, row : row + height + 1, column : column + width + 1]
            values = self.activation(phase(unfolded(part, (2, 2), (1, 1), (0, 0))))
            made.append(values.reshape(-1, height, width, phase.out_features).permute(0, 3, 1, 2))
        return _interleave(made)


class ShuffledPhases(nn.Module):
    """The same as one 3×3 convolution, whose channels are the four phases: exact, 2.25 times the products."""

    def __init__(self, layer: nn.ConvTranspose2d, activation: nn.Module) -> None:
        super().__init__()
        channels = layer.out_channels
        conv = nn.Conv2d(layer.in_channels, 4 * channels, 3, padding=1)
        spread = layer.weight.new_zeros(4, channels, layer.in_channels, 3, 3)
        for number, taps in enumerate(_phases(layer)):
            row, column = divmod(number, 2)
            spread[number, :, :, row : row + 2, column : column + 2] = taps
        self.conv = _filled(conv, spread.flatten(0, 1), _bias(layer).repeat(4))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] → [n, following, 2h, 2w]."""
        height, width = x.shape[2:]
        made = self.activation(self.conv(x)).permute(0, 2, 3, 1).reshape(-1, height, width, 2, 2, self._channels)
        return made.permute(0, 1, 3, 2, 4, 5).reshape(-1, 2 * height, 2 * width, self._channels).permute(0, 3, 1, 2)

    @property
    def _channels(self) -> int:
        return self.conv.out_channels // 4


class _Tracer(fx.Tracer):
    """Follows a network into the modules that fx can follow, and takes the others as they are.

    `known` is what was found of each module in this tracing, by its id: nested ones are asked about at every level.
    """

    def __init__(self, known: dict[int, bool]) -> None:
        super().__init__()
        self.known = known

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if super().is_leaf_module(m, module_qualified_name):
            return True
        if id(m) not in self.known:
            self.known[id(m)] = _can_follow(m, self.known)
        return not self.known[id(m)]


def _can_follow(module: nn.Module, known: dict[int, bool]) -> bool:
    try:
        _Tracer(known).trace(module)
    except Exception:  # whatever a module's own code raises on values that are none yet
        return False
    return True


def _is_just(layer: nn.Module | None, *kinds: type[nn.Module]) -> bool:
    """Whether a layer is one of torch's own and nothing more: a subclass or a hook may compute anything."""
    if layer is None or type(layer) not in kinds:
        return False
    return not layer._forward_hooks and not layer._forward_pre_hooks


def _as_transposed(layer: UpsampleConv) -> nn.ConvTranspose2d:
    """The transposed convolution 4/2/1 that a layer is."""
    found = nn.ConvTranspose2d(layer.in_channels, layer.out_channels, 4, 2, 1, bias=layer.bias is not None)
    bias = None if layer.bias is None else layer.bias.detach().clone()
    return _filled(found, layer.kernel().detach().contiguous(), bias).eval()


def _with_plain_layers(network: nn.Module) -> nn.Module:
    for name, layer in list(network.named_modules()):
        if isinstance(layer, UpsampleConv) and _is_just(layer, UpsampleConv):
            network.set_submodule(name, _as_transposed(layer))
    return network


def _exchangeable(network: nn.Module) -> fx.GraphModule:
    """A copy whose layers can be exchanged; raises what fx and the network's own code raise."""
    network = _with_plain_layers(copy.deepcopy(network))
    return fx.GraphModule(network, _Tracer({}).trace(network))


def _latents(network: nn.Module, latent_dim: int) -> Tensor:
    dtype = next((each.dtype for each in network.parameters() if each.is_floating_point()), torch.float32)
    return torch.as_tensor(rng.normal(0, "rewrite.z", 0, (COMPARED, latent_dim)), dtype=dtype)


def _equal(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    allowed = ROUNDINGS * torch.finfo(expected.dtype).eps * max(1.0, float(expected.abs().max()))
    return float((found - expected).abs().max()) <= allowed


@torch.no_grad()
def _rewritten(network: nn.Module, latent_dim: int, change: Callable[[fx.GraphModule], None]) -> nn.Module:
    """A copy that `change` has worked on, or the network itself where that fails or computes something else."""
    network.eval()
    try:
        z = _latents(network, latent_dim)
        # First: weights that a hook computes cannot be copied before they were computed without gradients.
        expected = network(z.clone())
        found = _exchangeable(network)
        found.forward(z.clone())  # not by the call itself, which prints what fails, as does ShapeProp
        ShapeProp(found).propagate(z.clone())
        change(found)
        found.delete_all_unused_submodules()
        found.recompile()
        return found.requires_grad_(False) if _equal(found.forward(z), expected) else network
    except Exception:  # foreign code, on values that are none yet, raises anything; without a rewriting it may well run
        return network


def _layer(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    """The layer that a node calls on one value and with nothing else."""
    if node.op != "call_module" or len(node.args) != 1 or node.kwargs:
        return None
    return network.get_submodule(str(node.target))


def _shape(node: fx.Node) -> torch.Size:
    found: torch.Size = node.meta["tensor_meta"].shape
    return found


def _replace(network: fx.GraphModule, node: fx.Node, layer: nn.Module) -> None:
    network.set_submodule(str(node.target), layer)


def _skip(network: fx.GraphModule, node: fx.Node) -> None:
    """Take a layer out: who used its values uses those that came into it."""
    node.replace_all_uses_with(node.all_input_nodes[0])
    network.graph.erase_node(node)


def _fused(layer: nn.Module | None, norm: nn.Module | None, dimensions: int) -> nn.Module | None:
    """The layer that does what both do, or None for such as BatchNorm cannot be folded into; between the two are
    values of so many dimensions.
    """
    if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d) or norm.running_mean is None:
        return None
    images, vectors = _is_just(norm, nn.BatchNorm2d), _is_just(norm, nn.BatchNorm1d) and dimensions == 2
    if images and isinstance(layer, nn.Conv2d) and _is_just(layer, nn.Conv2d):
        return fuse_conv_bn_eval(layer, norm)
    if images and isinstance(layer, nn.ConvTranspose2d) and _is_just(layer, nn.ConvTranspose2d) and layer.groups == 1:
        return fuse_conv_bn_eval(layer, norm, transpose=True)
    if vectors and isinstance(layer, nn.Linear) and _is_just(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm)
    return None


def _feeds_only(node: fx.Node, network: fx.GraphModule) -> bool:
    """Whether a layer is called once, and its values go to one place."""
    calls = [each for each in network.graph.nodes if each.op == "call_module" and each.target == node.target]
    return len(node.users) == 1 and len(calls) == 1


def _fold(network: fx.GraphModule) -> None:
    for node in list(network.graph.nodes):
        norm = _layer(network, node)
        if not isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        before = node.all_input_nodes[0]
        fused = _fused(_layer(network, before), norm, len(_shape(before))) if _feeds_only(before, network) else None
        if fused is not None:
            _replace(network, before, fused)
            _skip(network, node)


def folded(network: nn.Module, latent_dim: int) -> nn.Module:
    """A copy in which BatchNorm is part of the layer before it, wherever there is one; not for training.

    Exact but for rounding. A network that fx cannot follow is returned as it is.
    """
    return _rewritten(network, latent_dim, _fold)


def _is_plain(layer: nn.ConvTranspose2d, kernel: int, stride: int, padding: int) -> bool:
    found = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.output_padding)
    return found == ((kernel,) * 2, (stride,) * 2, (padding,) * 2, (1, 1), (0, 0)) and layer.groups == 1


# What the transposed convolution 4/2/1 of so many places becomes, or None.
Choice = Callable[[nn.ConvTranspose2d, int], type[nn.Module] | None]


def every_convolution(layer: nn.ConvTranspose2d, places: int) -> type[nn.Module] | None:
    """Convolutions throughout: what onnxruntime is fastest at."""
    return ShuffledPhases if layer.out_channels <= FEW_CHANNELS else FourPhases


def for_cpu(layer: nn.ConvTranspose2d, places: int) -> type[nn.Module] | None:
    """What torch's kernels of a CPU are fastest at in float32."""
    return FourPhases if places <= FEW_PLACES and layer.out_channels > FEW_CHANNELS else None


def for_cpu_in_half(layer: nn.ConvTranspose2d, places: int) -> type[nn.Module] | None:
    """What torch's kernels of a CPU are fastest at in bfloat16, which have no transposed convolutions worth having."""
    few = places <= FEW_PLACES_IN_HALF and layer.out_channels > FEW_CHANNELS
    return FourProducts if few else every_convolution(layer, places)


def _instead(layer: nn.ConvTranspose2d, shape: torch.Size, activation: nn.Module, choice: Choice) -> nn.Module | None:
    """What replaces a transposed convolution of values of `shape` and the activation behind it, or None."""
    if len(shape) != 4:
        return None
    if shape[2:] == (1, 1) and _is_plain(layer, layer.kernel_size[0], 1, 0):
        return Dense4x4(layer, activation)
    chosen = choice(layer, math.prod(shape[2:])) if _is_plain(layer, 4, 2, 1) else None
    return chosen(layer, activation) if chosen else None


def _activation_behind(node: fx.Node, network: fx.GraphModule) -> tuple[fx.Node, nn.Module] | None:
    """The activation that alone uses a layer's values, with its place, if there is one."""
    if not _feeds_only(node, network):
        return None
    following = next(iter(node.users))
    activation = _layer(network, following)
    known = activation is not None and _is_just(activation, nn.ReLU, nn.LeakyReLU)
    return (following, activation) if activation is not None and known else None


def _put_channels_last(network: nn.Module) -> None:
    for value in (*network.parameters(), *network.buffers()):
        if value.dim() == 4:
            value.data = value.data.contiguous(memory_format=torch.channels_last)


def _exchange(network: fx.GraphModule, choice: Choice) -> None:
    for node in list(network.graph.nodes):
        layer = _layer(network, node)
        if not isinstance(layer, nn.ConvTranspose2d) or not _is_just(layer, nn.ConvTranspose2d):
            continue
        behind = _activation_behind(node, network)
        activation = behind[1] if behind else nn.Identity()
        replaced = _instead(layer, _shape(node.all_input_nodes[0]), activation, choice)
        if replaced is None:
            continue
        _replace(network, node, replaced)
        if behind:
            _skip(network, behind[0])


def phased(
    network: nn.Module, latent_dim: int, choice: Choice = every_convolution, channels_last: bool = False
) -> nn.Module:
    """A copy in which transposed convolutions 4/2/1 are what `choice` says, and such of one place dense layers;
    `channels_last` puts all weights in memory as torch's kernels for a CPU are fastest at.

    Exact but for rounding. A network that fx cannot follow, or that looks at its memory, is returned as it is.
    """

    def change(found: fx.GraphModule) -> None:
        _exchange(found, choice)
        if channels_last:
            _put_channels_last(found)

    return _rewritten(network, latent_dim, change)
