"""Rewrite a generator to layers that compute the same function faster: BatchNorm folded, transposed convolutions split.

The rewriting observes which layers a network calls, and on what, during one forward pass. A custom network may do
anything between its layers, so the rewritten copy is compared with the network and discarded if it differs.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval

from wgan_dist.models.layers import UpsampleConv
from wgan_dist.utils import rng

# Up to this number of output channels, one 3×3 convolution is faster than four 2×2 ones: CPU kernels compute 16
# channels at a time.
FEW_CHANNELS = 4
# Up to this number of input positions (height × width), splitting is faster on a CPU. The kernels reorder the weights
# at every call, which takes longer than the rest there. Measured against the transposed convolution: four convolutions
# in float32 take 0.16 to 0.8 of its time (1024 to 512 channels, 16 positions, 1 to 64 latents). In bfloat16 four matrix
# products take 0.25 to 0.7 of the time of four convolutions there (512 to 256 channels, 64 positions: 0.4 to 1.1).
FEW_POSITIONS, FEW_POSITIONS_BF16 = 16, 64
# The least number of latents on which a rewritten network is compared with the original, the most of them at once, and
# the allowed difference in units of rounding of the largest value: 3e-5 for float32 images in [−1, 1].
COMPARED_LATENTS, COMPARED_AT_ONCE, ROUNDINGS = 5, 64, 256

Layer = TypeVar("Layer", nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
Inputs = tuple[Tensor, ...]


def _with_weights(layer: Layer, weight: Tensor, bias: Tensor | None) -> Layer:
    layer.weight = nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias, requires_grad=False)
    return layer


def _bias(layer: nn.ConvTranspose2d) -> Tensor:
    return layer.weight.new_zeros(layer.out_channels) if layer.bias is None else layer.bias.detach()


class DenseTranspose(nn.Module):
    """A transposed convolution of a 1×1 input, computed as a dense layer."""

    def __init__(self, layer: nn.ConvTranspose2d, activation: nn.Module) -> None:
        super().__init__()
        self.shape = (*layer.kernel_size, layer.out_channels)
        dense = nn.Linear(layer.in_channels, math.prod(self.shape))
        # The channels of a position are contiguous, as the next layer reads them.
        weight = layer.weight.detach().permute(2, 3, 1, 0).reshape(-1, layer.in_channels)
        self.dense = _with_weights(dense, weight, _bias(layer).repeat(math.prod(layer.kernel_size)))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, 1, 1] → [n, out_channels, k, k]."""
        return self.activation(self.dense(x.flatten(1))).reshape(-1, *self.shape).permute(0, 3, 1, 2)


def _phase_kernels(layer: nn.ConvTranspose2d) -> list[Tensor]:
    """Return the kernels of the four 2×2 convolutions that compute the outputs (even, even), (even, odd), (odd, even)
    and (odd, odd) by row and column: output 2i + r depends on input i + r − 1 by tap 3 − r, and i + r by tap 1 − r.
    """
    weight = layer.weight.detach().transpose(0, 1)
    taps = ([3, 1], [2, 0])
    return [weight[:, :, rows][:, :, :, columns].contiguous() for rows in taps for columns in taps]


def _interleave(phases: list[Tensor]) -> Tensor:
    """Merge the four phases, each [n, c, h, w], into [n, c, 2h, 2w]; channels-last, so that this is copying only."""
    channels, height, width = phases[0].shape[1:]
    last = [phase.permute(0, 2, 3, 1) for phase in phases]
    rows = [torch.cat(pair, 3).reshape(-1, height, 1, 2 * width * channels) for pair in (last[:2], last[2:])]
    return torch.cat(rows, 2).reshape(-1, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)


class _FourPhases(nn.Module):
    """A transposed convolution 4/2/1 (kernel, stride, padding) computed in four phases, one for each parity of output
    row and column. The activation is elementwise, so it is applied before the phases are merged.
    """

    def __init__(self, layer: nn.ConvTranspose2d, activation: nn.Module) -> None:
        super().__init__()
        self.phases = nn.ModuleList(
            self._phase(layer, kernel, _bias(layer).clone()) for kernel in _phase_kernels(layer)
        )
        self.activation = activation

    def _phase(self, layer: nn.ConvTranspose2d, kernel: Tensor, bias: Tensor) -> nn.Module:
        raise NotImplementedError


class FourConvolutions(_FourPhases):
    """A transposed convolution 4/2/1 as four 2×2 convolutions: exact, and without products by zero."""

    def _phase(self, layer: nn.ConvTranspose2d, kernel: Tensor, bias: Tensor) -> nn.Module:
        return _with_weights(nn.Conv2d(layer.in_channels, layer.out_channels, 2), kernel, bias)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] → [n, out_channels, 2h, 2w]."""
        outputs = []
        for index, phase in enumerate(self.phases):
            row, column = divmod(index, 2)
            outputs.append(self.activation(phase(pad(x, (1 - column, column, 1 - row, row)))))
        return _interleave(outputs)


class FourMatrixProducts(_FourPhases):
    """A transposed convolution 4/2/1 as four dense layers of 2×2 windows of the input: exact."""

    def _phase(self, layer: nn.ConvTranspose2d, kernel: Tensor, bias: Tensor) -> nn.Module:
        dense = nn.Linear(4 * layer.in_channels, layer.out_channels)
        return _with_weights(dense, kernel.permute(0, 2, 3, 1).flatten(1), bias)

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] → [n, out_channels, 2h, 2w]."""
        channels, height, width = x.shape[1:]
        padded = pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        outputs = []
        for index, phase in enumerate(self.phases):
            row, column = divmod(index, 2)
            phase_input = padded[:, row : row + height + 1, column : column + width + 1].flatten(2)
            # The two positions of a window's row are contiguous: copying them at once takes two thirds of the time.
            windows = phase_input.unfold(1, 2, 1).unfold(2, 2 * channels, channels)
            values = self.activation(phase(windows.reshape(-1, 4 * channels)))
            outputs.append(values.reshape(-1, height, width, phase.out_features).permute(0, 3, 1, 2))
        return _interleave(outputs)


class OneConvolution(nn.Module):
    """A transposed convolution 4/2/1 as one 3×3 convolution whose channels are the four phases: exact, with 2.25 times
    the products.
    """

    def __init__(self, layer: nn.ConvTranspose2d, activation: nn.Module) -> None:
        super().__init__()
        self.channels = layer.out_channels
        kernels = layer.weight.new_zeros(4, self.channels, layer.in_channels, 3, 3)
        for index, kernel in enumerate(_phase_kernels(layer)):
            row, column = divmod(index, 2)
            kernels[index, :, :, row : row + 2, column : column + 2] = kernel
        conv = nn.Conv2d(layer.in_channels, 4 * self.channels, 3, padding=1)
        self.conv = _with_weights(conv, kernels.flatten(0, 1), _bias(layer).repeat(4))
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[n, c, h, w] → [n, out_channels, 2h, 2w]."""
        height, width = x.shape[2:]
        phases = self.activation(self.conv(x)).permute(0, 2, 3, 1).reshape(-1, height, width, 2, 2, self.channels)
        merged = phases.permute(0, 1, 3, 2, 4, 5).reshape(-1, 2 * height, 2 * width, self.channels)
        return merged.permute(0, 3, 1, 2)


# Chooses the replacement of a transposed convolution 4/2/1 from the layer and its number of input positions, or None.
Choice = Callable[[nn.ConvTranspose2d, int], type[nn.Module] | None]


def all_convolutions(layer: nn.ConvTranspose2d, positions: int) -> type[nn.Module] | None:
    """Choose convolutions throughout, which are fastest in onnxruntime."""
    return OneConvolution if layer.out_channels <= FEW_CHANNELS else FourConvolutions


def for_cpu(layer: nn.ConvTranspose2d, positions: int) -> type[nn.Module] | None:
    """Choose what torch computes fastest on a CPU in float32."""
    return FourConvolutions if positions <= FEW_POSITIONS and layer.out_channels > FEW_CHANNELS else None


def for_cpu_bf16(layer: nn.ConvTranspose2d, positions: int) -> type[nn.Module] | None:
    """Choose what torch computes fastest on a CPU in bfloat16, where its transposed convolutions are slow."""
    if positions <= FEW_POSITIONS_BF16 and layer.out_channels > FEW_CHANNELS:
        return FourMatrixProducts
    return all_convolutions(layer, positions)


def _is_plain(layer: nn.Module, *types: type[nn.Module]) -> bool:
    """Return whether a layer is exactly torch's: a subclass or a hook may compute anything."""
    return type(layer) in types and not layer._forward_hooks and not layer._forward_pre_hooks


def _with_transposed_convolutions(network: nn.Module) -> nn.Module:
    """Return a copy in which every UpsampleConv is the transposed convolution 4/2/1 that it computes."""
    network = copy.deepcopy(network)
    for name, layer in list(network.named_modules()):
        if isinstance(layer, UpsampleConv) and _is_plain(layer, UpsampleConv):
            transposed = nn.ConvTranspose2d(layer.in_channels, layer.out_channels, 4, 2, 1, bias=layer.bias is not None)
            bias = None if layer.bias is None else layer.bias.detach().clone()
            kernel = layer.kernel().detach().contiguous()
            network.set_submodule(name, _with_weights(transposed, kernel, bias).eval())
    return network


@dataclass(frozen=True)
class _Call:
    """One call of a layer. The tensors are kept: their identity tells which layer reads which layer's output."""

    name: str
    layer: nn.Module
    input: Tensor
    output: Tensor


class _Calls:
    """The layers that a network calls exactly once, with one tensor and nothing else, in a forward pass."""

    def __init__(self, network: nn.Module, inputs: Inputs) -> None:
        self.network = network
        self._calls: list[_Call] = []
        names = {layer: name for name, layer in network.named_modules() if not list(layer.children())}
        counts = dict.fromkeys(names, 0)

        def record(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            counts[layer] += 1
            if len(args) == 1 and not kwargs and isinstance(args[0], Tensor) and isinstance(output, Tensor):
                self._calls.append(_Call(names[layer], layer, args[0], output))

        hooks = [layer.register_forward_hook(record, with_kwargs=True) for layer in names]
        network(*inputs)
        for hook in hooks:
            hook.remove()
        self._calls = [call for call in self._calls if counts[call.layer] == 1]

    def of(self, *types: type[nn.Module]) -> list[_Call]:
        """Return the calls of layers that are exactly torch's."""
        return [call for call in self._calls if _is_plain(call.layer, *types)]

    def next(self, call: _Call, *types: type[nn.Module]) -> _Call | None:
        """Return the call that reads the output of `call`, if there is exactly one and its layer is of `types`.

        An Identity, which a folded BatchNorm leaves behind, passes the same tensor on and is no reader.
        """
        others = (other for other in self._calls if not isinstance(other.layer, nn.Identity))
        readers = [other for other in others if other.input is call.output]
        return readers[0] if len(readers) == 1 and _is_plain(readers[0].layer, *types) else None

    def replace(self, call: _Call, layer: nn.Module) -> None:
        """Put `layer` in the place of a call's layer."""
        self.network.set_submodule(call.name, layer)


def _batches(network: nn.Module, latent_dim: int, classes: int) -> list[Inputs]:
    """Return batches of latents and, with classes, of labels in which every class occurs."""
    dtypes = (parameter.dtype for parameter in network.parameters() if parameter.is_floating_point())
    z = rng.normal(0, "rewrite.z", 0, (max(COMPARED_LATENTS, classes), latent_dim))
    inputs = [torch.as_tensor(z, dtype=next(dtypes, torch.float32))]
    if classes:
        inputs.append(torch.arange(len(z)) % classes)
    return list(zip(*(each.split(COMPARED_AT_ONCE) for each in inputs), strict=True))


def _call(network: nn.Module, inputs: Inputs) -> Tensor:
    """Return the output for a copy of the inputs, which a custom network may change."""
    output: Tensor = network(*(each.clone() for each in inputs))
    return output


def _equal(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return False
    allowed = ROUNDINGS * torch.finfo(expected.dtype).eps * max(1.0, float(expected.abs().max()))
    return float((found - expected).abs().max()) <= allowed


@torch.no_grad()
def _rewrite(network: nn.Module, latent_dim: int, classes: int, change: Callable[[_Calls], None]) -> nn.Module:
    """Return a copy that `change` has rewritten, or the network itself if that fails or computes something else."""
    network.eval()
    try:
        batches = _batches(network, latent_dim, classes)
        # Before the copy: weights that a hook computes can only be copied once they were computed without gradients.
        _call(network, batches[0])
        rewritten = _with_transposed_convolutions(network)
        change(_Calls(rewritten, tuple(each.clone() for each in batches[0])))
        is_equal = all(_equal(_call(rewritten, batch), _call(network, batch)) for batch in batches)
        return rewritten.requires_grad_(False) if is_equal else network
    except Exception:  # a custom network may raise anything in a rewritten form, and still work in its own
        return network


def _with_scale_and_shift(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> nn.BatchNorm1d | nn.BatchNorm2d:
    """Return BatchNorm with a scale of 1 and a shift of 0 if it has none; torch folds no other into dense layers."""
    if norm.affine:
        return norm
    norm = copy.deepcopy(norm)
    assert norm.running_mean is not None
    norm.weight, norm.bias = nn.Parameter(torch.ones_like(norm.running_mean)), nn.Parameter(0.0 * norm.running_mean)
    return norm


def _fused(layer: nn.Module, norm: nn.Module, dimensions: int) -> nn.Module | None:
    """Return one layer that computes `layer`, whose output has so many dimensions, and then BatchNorm; None if there
    is none.
    """
    assert isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d)
    if norm.running_mean is None:
        return None
    norm = _with_scale_and_shift(norm)
    if isinstance(layer, nn.Linear):
        return fuse_linear_bn_eval(layer, norm) if isinstance(norm, nn.BatchNorm1d) and dimensions == 2 else None
    assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    transposed = isinstance(layer, nn.ConvTranspose2d)
    if isinstance(norm, nn.BatchNorm1d) or (transposed and layer.groups > 1):
        return None
    return fuse_conv_bn_eval(layer, norm, transpose=transposed)


def _fold_batch_norm(calls: _Calls) -> None:
    for call in calls.of(nn.Conv2d, nn.ConvTranspose2d, nn.Linear):
        norm = calls.next(call, nn.BatchNorm1d, nn.BatchNorm2d)
        fused = _fused(call.layer, norm.layer, call.output.dim()) if norm else None
        if norm and fused:
            calls.replace(call, fused)
            calls.replace(norm, nn.Identity())


def fold_batch_norm(network: nn.Module, latent_dim: int, classes: int = 0) -> nn.Module:
    """Return a copy for inference with each BatchNorm folded into the layer before it, where there is such a layer.

    The scales and shifts of class-conditional BatchNorm stay tables. The function stays the same up to rounding. A
    network for which this fails is returned as it is.
    """
    return _rewrite(network, latent_dim, classes, _fold_batch_norm)


def _has_geometry(layer: nn.ConvTranspose2d, kernel: int, stride: int, padding: int) -> bool:
    geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.output_padding)
    return geometry == ((kernel,) * 2, (stride,) * 2, (padding,) * 2, (1, 1), (0, 0)) and layer.groups == 1


def _replacement(layer: nn.ConvTranspose2d, shape: torch.Size, choice: Choice) -> type[nn.Module] | None:
    """Return the class that replaces a transposed convolution of an input of `shape`, or None."""
    if len(shape) != 4:
        return None
    if shape[2:] == (1, 1) and _has_geometry(layer, layer.kernel_size[0], 1, 0):
        return DenseTranspose
    return choice(layer, math.prod(shape[2:])) if _has_geometry(layer, 4, 2, 1) else None


def _replace_transposed_convolutions(calls: _Calls, choice: Choice) -> None:
    for call in calls.of(nn.ConvTranspose2d):
        assert isinstance(call.layer, nn.ConvTranspose2d)
        replacement = _replacement(call.layer, call.input.shape, choice)
        if replacement is None:
            continue
        activation = calls.next(call, nn.ReLU, nn.LeakyReLU)
        calls.replace(call, replacement(call.layer, activation.layer if activation else nn.Identity()))
        if activation:
            calls.replace(activation, nn.Identity())


def replace_transposed_convolutions(
    network: nn.Module,
    latent_dim: int,
    choice: Choice = all_convolutions,
    channels_last: bool = False,
    classes: int = 0,
) -> nn.Module:
    """Return a copy for inference in which transposed convolutions 4/2/1 are what `choice` says, and those of a 1×1
    input dense layers; `channels_last` stores the weights in the order that torch's CPU kernels are fastest at.

    The function stays the same up to rounding. A network for which this fails is returned as it is.
    """

    def change(calls: _Calls) -> None:
        _replace_transposed_convolutions(calls, choice)
        if channels_last:
            for value in (*calls.network.parameters(), *calls.network.buffers()):
                if value.dim() == 4:
                    value.data = value.data.contiguous(memory_format=torch.channels_last)

    return _rewrite(network, latent_dim, classes, change)
