"""Freeze the first layers of a critic for fine-tuning (FreezeD; Mo et al. 2020)."""

import itertools

from torch import nn

from wgan_dist.utils.errors import UserError

PARAMETRIZATIONS = ".parametrizations."


def _layer_of(parameter: str) -> str:
    """Return the name of the layer that has a parameter, also under a parametrization such as spectral norm."""
    layer, parametrized, _ = parameter.partition(PARAMETRIZATIONS)
    return layer if parametrized else parameter.rpartition(".")[0]


def layers(network: nn.Module) -> list[list[nn.Parameter]]:
    """Return the parameters of each layer, in the order in which the network holds its layers.

    A norm belongs to the layer before it: only convolutions, dense layers and embeddings, whose weights have two
    dimensions or more, begin a layer.
    """
    found: list[list[nn.Parameter]] = []
    for _, named in itertools.groupby(network.named_parameters(), lambda item: _layer_of(item[0])):
        parameters = [parameter for _, parameter in named]
        if not found or any(parameter.dim() > 1 for parameter in parameters):
            found.append([])
        found[-1] += parameters
    return found


def freeze_first_layers(critic: nn.Module, count: int) -> None:
    """Let the parameters of the first `count` layers need no gradient.

    Raises:
        UserError: If that leaves no layer to train.
    """
    of_layers = layers(critic)
    if count >= len(of_layers):
        raise UserError(
            f"freeze_critic={count}: expected fewer than the {len(of_layers)} layers of the critic, so that one learns"
        )
    for parameter in itertools.chain(*of_layers[:count]):
        parameter.requires_grad_(False)
