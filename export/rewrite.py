"""The same function in layers that compute faster: no BatchNorm, and convolutions for transposed ones."""

import copy
import math

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.functional import pad
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from wgan_dist.models.blocks import DoubleThenConv

# Up to this many channels one 3×3 convolution costs less than four: kernels compute 16 channels or none.
FEW_CHANNELS = 4


class Dense4x4(nn.Module):
    """A transposed convolution of one place, as the dense layer that it is."""

    def __init__(self, layer: nn.ConvTranspose2d, activation: nn.Module) -> None:
        super().__init__()
        self.shape = (layer.out_channels, *layer.kernel_size)
        self.dense = nn.Linear(layer.in_channels, math.prod(self.shape))
        # Values of a place together: what follows reads them so.
        weight = layer.weight.detach().permute(2, 3, 1, 0)
        self.dense.weight = nn.Parameter(weight.reshape(-1, layer.in_channels), requires_grad=False)
        self.dense.bias = nn.Parameter(_bias(layer).repeat(math.prod(layer.kernel_size)), requires_grad=False)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, 1, 1] → [n, following, k, k]."""
        channels, height, width = self.shape
        values = self.activation(self.dense(x.flatten(1)))
        return values.reshape(-1, height, width, channels).permute(0, 3, 1, 2)


def _bias(layer: nn.ConvTranspose2d) -> Tensor:
    return layer.weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias.detach()


def _phase(weight: Tensor, row: int, column: int) -> Tensor:
    """The 2×2 convolution that gives every second row and column, of weights [c, following, 4, 4]: output 2i + row
    takes input i + row − 1 by tap 3 − row, and input i + row by tap 1 − row.
    """
    taps = weight[:, :, [3 - row, 1 - row]][:, :, :, [3 - column, 1 - column]]
    return taps.transpose(0, 1).contiguous()


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
        weight, bias = layer.weight.detach(), _bias(layer)
        self.phases = nn.ModuleList()
        for row in (0, 1):
            for column in (0, 1):
                phase = nn.Conv2d(layer.in_channels, layer.out_channels, 2)
                phase.weight = nn.Parameter(_phase(weight, row, column), requires_grad=False)
                phase.bias = nn.Parameter(bias.clone(), requires_grad=False)
                self.phases.append(phase)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] → [n, following, 2h, 2w]."""
        made = []
        for number, phase in enumerate(self.phases):
            row, column = divmod(number, 2)
            made.append(self.activation(phase(pad(x, (1 - column, column, 1 - row, row)))))
        return _interleave(made)


class ShuffledPhases(nn.Module):
    """The same as one 3×3 convolution, whose channels are the four phases: exact, 2.25 times the products."""

    def __init__(self, layer: nn.ConvTranspose2d, activation: nn.Module) -> None:
        super().__init__()
        channels, weight = layer.out_channels, layer.weight.detach()
        self.conv = nn.Conv2d(layer.in_channels, 4 * channels, 3, padding=1)
        spread = weight.new_zeros(2, 2, channels, layer.in_channels, 3, 3)
        for row in (0, 1):
            for column in (0, 1):
                spread[row, column, :, :, row : row + 2, column : column + 2] = _phase(weight, row, column)
        self.conv.weight = nn.Parameter(spread.flatten(0, 2), requires_grad=False)
        self.conv.bias = nn.Parameter(_bias(layer).repeat(4), requires_grad=False)
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
    """Follows a network into the modules that fx can follow, and takes the others as they are."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return super().is_leaf_module(m, module_qualified_name) or _trace(m) is None


def _trace(network: nn.Module) -> fx.Graph | None:
    try:
        return _Tracer().trace(network)
    except Exception:  # whatever a module's own code raises on values that are none yet
        return None


def _as_transposed(layer: DoubleThenConv) -> nn.ConvTranspose2d:
    """The transposed convolution 4/2/1 that a layer is."""
    found = nn.ConvTranspose2d(layer.in_channels, layer.out_channels, 4, 2, 1, bias=layer.bias is not None)
    found.weight = nn.Parameter(layer.kernel().detach().contiguous(), requires_grad=False)
    if layer.bias is not None:
        found.bias = nn.Parameter(layer.bias.detach().clone(), requires_grad=False)
    return found.eval()


def _with_plain_layers(network: nn.Module) -> nn.Module:
    for name, layer in list(network.named_modules()):
        if isinstance(layer, DoubleThenConv):
            network.set_submodule(name, _as_transposed(layer))
    return network


def traced(network: nn.Module) -> fx.GraphModule | None:
    """A copy whose layers can be exchanged, or None for a network that fx cannot follow."""
    network = _with_plain_layers(copy.deepcopy(network))
    graph = _trace(network)
    return None if graph is None else fx.GraphModule(network, graph)


def _layer(network: fx.GraphModule, node: fx.Node) -> nn.Module | None:
    return network.get_submodule(str(node.target)) if node.op == "call_module" else None


def _replace(network: fx.GraphModule, node: fx.Node, layer: nn.Module) -> None:
    network.set_submodule(str(node.target), layer)


def _skip(network: fx.GraphModule, node: fx.Node) -> None:
    """Take a layer out: who used its values uses those that came into it."""
    node.replace_all_uses_with(node.all_input_nodes[0])
    network.graph.erase_node(node)


def _fused(layer: nn.Module | None, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.Module | None:
    """The layer that does what both do, or None for such as BatchNorm cannot be folded into."""
    if isinstance(layer, nn.Conv2d):
        return fuse_conv_bn_eval(layer, norm)
    if isinstance(layer, nn.ConvTranspose2d):
        return fuse_conv_bn_eval(layer, norm, transpose=True)
    if isinstance(layer, nn.Linear) and isinstance(norm, nn.BatchNorm1d):
        return fuse_linear_bn_eval(layer, norm)
    return None


def _feeds_only(node: fx.Node, network: fx.GraphModule) -> bool:
    """Whether a layer is called once, and its values go to one place."""
    calls = [each for each in network.graph.nodes if each.op == "call_module" and each.target == node.target]
    return len(node.users) == 1 and len(calls) == 1


def folded(network: nn.Module) -> nn.Module:
    """A copy in which BatchNorm is part of the layer before it, wherever there is one; not for training.

    Exact but for rounding. A network that fx cannot follow stays as it is.
    """
    found = traced(network.eval())
    if found is None:
        return network
    for node in list(found.graph.nodes):
        norm = _layer(found, node)
        if not isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            continue
        before = node.all_input_nodes[0]
        fused = _fused(_layer(found, before), norm) if _feeds_only(before, found) else None
        if fused is not None:
            _replace(found, before, fused)
            _skip(found, node)
    found.delete_all_unused_submodules()
    found.recompile()
    return found.requires_grad_(False)


def _is_plain(layer: nn.ConvTranspose2d, kernel: int, stride: int, padding: int) -> bool:
    found = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.output_padding)
    return found == ((kernel,) * 2, (stride,) * 2, (padding,) * 2, (1, 1), (0, 0)) and layer.groups == 1


def _as_convolutions(layer: nn.Module | None, shape: torch.Size, activation: nn.Module) -> nn.Module | None:
    """What replaces a transposed convolution of values of `shape` and the activation behind it, or None."""
    if not isinstance(layer, nn.ConvTranspose2d):
        return None
    if shape[2:] == (1, 1) and _is_plain(layer, layer.kernel_size[0], 1, 0):
        return Dense4x4(layer, activation)
    if not _is_plain(layer, 4, 2, 1):
        return None
    return (ShuffledPhases if layer.out_channels <= FEW_CHANNELS else FourPhases)(layer, activation)


def phased(network: nn.Module, latent_dim: int) -> nn.Module:
    """A copy without transposed convolutions 4/2/1 and such of one place, which are convolutions and dense layers
    written otherwise: what kernels for whole numbers and for bfloat16 know.

    Exact but for rounding. A network that fx cannot follow stays as it is.
    """
    found = traced(network.eval())
    if found is None:
        return network
    ShapeProp(found).propagate(next(network.parameters()).new_zeros(2, latent_dim))
    for node in list(found.graph.nodes):
        layer = _layer(found, node)
        if not isinstance(layer, nn.ConvTranspose2d):
            continue
        following = next(iter(node.users)) if _feeds_only(node, found) else None
        activation = _layer(found, following) if following else None
        absorbed = isinstance(activation, (nn.ReLU, nn.LeakyReLU))
        shape = node.all_input_nodes[0].meta["tensor_meta"].shape
        replaced = _as_convolutions(layer, shape, activation if absorbed and activation else nn.Identity())
        if replaced is None:
            continue
        _replace(found, node, replaced)
        if absorbed and following:
            _skip(found, following)
    found.delete_all_unused_submodules()
    found.recompile()
    return found.requires_grad_(False)
