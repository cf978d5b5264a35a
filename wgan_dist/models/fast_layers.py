"""Layers that compute what the layers of a network compute, but faster in training.

`use_fast_ops` and `without_second_derivatives` put them into a network, which otherwise computes by torch's own
operations.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wgan_dist.models.layers import ConvDownsample, InstanceNorm2d, UpsampleConv, downsample_kernel, upsample_kernel
from wgan_dist.ops.conv import conv2d, conv_transpose2d
from wgan_dist.ops.instance_norm import instance_norm


class _FastLayer(nn.Module):
    """A layer that computes operation(input, weight, bias, *arguments) with the parameters of the layer it replaces."""

    def __init__(self, layer: Any, operation: Callable[..., Tensor], *arguments: Any) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias
        self.operation, self.arguments = operation, arguments

    def forward(self, input: Tensor) -> Tensor:
        # The derivatives that torch.compile finds in a Function in Python are wrong (torch 2.14); without fullgraph it
        # runs the layer as it is. A compiled run has no fast layers.
        if torch.compiler.is_compiling():
            raise RuntimeError("fast operations cannot be compiled: set fast_ops=false or compile=true")
        return self.operation(input, self.weight, self.bias, *self.arguments)


def _conv_downsample(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return conv2d(x, downsample_kernel(weight), bias, (2, 2), (1, 1))


def _upsample_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return conv_transpose2d(x, upsample_kernel(weight), bias, (2, 2), (1, 1))


class _MaskedReLU(nn.Module):
    """ReLU as the product of its input with a constant mask, so that autograd sees no second derivative.

    `torch.ops.aten` has this product as one kernel. Written with torch.where a training step of cifar10_resnet (64
    features, batch 32, CPU) takes 1.3 times as long, with a product of tensors 1.1 times, and NaN for infinite inputs.
    """

    def forward(self, input: Tensor) -> Tensor:
        return torch.ops.aten.threshold_backward(input, input.detach(), 0.0)


class _MaskedLeakyReLU(nn.Module):
    """LeakyReLU as the product of its input with constants, as _MaskedReLU."""

    def __init__(self, negative_slope: float) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        return torch.ops.aten.leaky_relu_backward(input, input.detach(), self.negative_slope, False)


Replacements = dict[type[nn.Module], Callable[[Any], nn.Module]]
FAST_LAYERS: Replacements = {
    nn.Conv2d: lambda conv: _FastLayer(conv, conv2d, conv.stride, conv.padding),
    nn.ConvTranspose2d: lambda conv: _FastLayer(conv, conv_transpose2d, conv.stride, conv.padding, conv.output_padding),
    ConvDownsample: lambda conv: _FastLayer(conv, _conv_downsample),
    UpsampleConv: lambda conv: _FastLayer(conv, _upsample_conv),
    InstanceNorm2d: lambda norm: _FastLayer(norm, instance_norm, norm.eps),
}
MASKED_ACTIVATIONS: Replacements = {
    nn.ReLU: lambda layer: _MaskedReLU(),
    nn.LeakyReLU: lambda layer: _MaskedLeakyReLU(layer.negative_slope),
}


def _is_supported(layer: nn.Module) -> bool:
    """Return whether a layer has no hooks, does not work in place, and has only the options that fast layers have."""
    if layer._forward_hooks or layer._forward_pre_hooks or layer._backward_hooks:
        return False
    if isinstance(layer, nn.InstanceNorm2d):
        return layer.affine and not layer.track_running_stats
    if not isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
        return not getattr(layer, "inplace", False)
    return (
        layer.groups == 1
        and set(layer.dilation) == {1}
        and isinstance(layer.padding, tuple)
        and layer.padding_mode == "zeros"
    )


def _replace_layers(network: nn.Module, replacements: Replacements) -> None:
    for name, child in network.named_children():
        if type(child) in replacements and _is_supported(child):
            setattr(network, name, replacements[type(child)](child))
        else:
            _replace_layers(child, replacements)


def use_fast_ops(network: nn.Module) -> nn.Module:
    """Replace layers, in place, by ones with a fast double backward.

    The layers share the parameters, so that state_dict and optimizers see no difference. For the networks of this
    package: a custom network may look at its memory, as `view` does, or call its layers in other ways. Layers of other
    classes, grouped and dilated convolutions, and layers with a parametrization or hooks stay as they are. Returns the
    network.
    """
    _replace_layers(network, FAST_LAYERS)
    return network


def without_second_derivatives(network: nn.Module) -> nn.Module:
    """Replace every ReLU and LeakyReLU, in place, by a product with constants.

    Their second derivative is zero, but torch computes those zeros, and a penalty's backward then runs convolutions
    over them: a third of its work in a critic without norm layers. Values and gradients stay equal to the last bit.
    Activations that work in place or have hooks stay as they are. Returns the network.
    """
    _replace_layers(network, MASKED_ACTIVATIONS)
    return network
