"""BatchNorm over the global batch, on any device: `torch.nn.SyncBatchNorm` refuses CPU tensors."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import batch_norm

from wgan_dist.distributed.process_group import world
from wgan_dist.utils.errors import UserError


def _all_gather(values: Tensor) -> Tensor:
    """Return the tensors of one shape of all processes, stacked [processes, …]."""
    gathered = values.new_empty(world().size * len(values), *values.shape[1:])
    dist.all_gather_into_tensor(gathered, values)
    return gathered.view(-1, *values.shape)


def _global_statistics(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and biased variance of each channel over the equal shares of all processes."""
    # On CPU, this is four times as fast as torch.var_mean.
    statistics = torch.batch_norm_update_stats(x, None, None, 0.0)
    means, variances = _all_gather(torch.stack(statistics)).unbind(1)
    # Chan et al. 1979: the variance of equal parts is their mean variance plus the variance of their means.
    mean = means.mean(0)
    return mean, (variances + (means - mean).square()).mean(0)


class _GlobalBatchNorm(torch.autograd.Function):
    """w · (x − mean) / √(var + ε) + b, differentiated also through the mean and variance of the global batch.

    Torch's kernels for given statistics do the work; the backward adds what their derivative leaves out.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        mean, variance = _global_statistics(x)
        ctx.eps = eps
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.mark_non_differentiable(mean, variance)
        return batch_norm(x, mean, variance, weight, bias, eps=eps), mean, variance

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, variance = ctx.saved_tensors
        inverse_std = (variance + ctx.eps).rsqrt()
        # No public function has the kernels' backward. On CPU it ignores the second mean and inverse_std; on CUDA it
        # aborts without them.
        grad_x, grad_weight, grad_bias = torch.ops.aten.native_batch_norm_backward(
            grad_outputs[0], x, weight, mean, variance, mean, inverse_std, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([grad_bias, grad_weight])
        dist.all_reduce(sums)
        mean_grad, mean_grad_x_hat = sums / (x.numel() // x.shape[1] * world().size)
        # Ioffe and Szegedy 2015, section 3: subtract w / σ · (mean gradient + x̂ · mean of gradient times x̂).
        slope = weight * inverse_std.square() * mean_grad_x_hat
        offset = weight * inverse_std * mean_grad - slope * mean
        per_channel = (1, -1, *[1] * (x.dim() - 2))
        grad_x = grad_x.addcmul(x, slope.view(per_channel), value=-1.0).sub_(offset.view(per_channel))
        return grad_x, grad_weight, grad_bias, None


class SyncBatchNorm(nn.BatchNorm2d):
    """BatchNorm over the batch of all processes, for inputs [n, channels, …] of any number of dimensions."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalise; in training with the statistics of the global batch, never computed in half precision."""
        if not self.training:
            return batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        assert self.running_mean is not None
        x = input.to(self.running_mean.dtype)
        weight = self.weight if self.affine else torch.ones_like(self.running_mean)
        bias = self.bias if self.affine else torch.zeros_like(self.running_mean)
        normalised, mean, variance = _GlobalBatchNorm.apply(x, weight, bias, self.eps)
        self._update_running_statistics(mean, variance, x.numel() // x.shape[1] * world().size)
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _update_running_statistics(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)


def convert_sync_batchnorm(network: nn.Module) -> nn.Module:
    """Replace every BatchNorm inside `network` by a SyncBatchNorm of the same parameters and buffers; return `network`.

    One process alone keeps torch's own layers, which compute the same.

    Raises:
        UserError: For a BatchNorm of a custom network without running statistics or momentum.
    """
    if world().size == 1:
        return network
    for name, child in network.named_children():
        if isinstance(child, nn.modules.batchnorm._BatchNorm):
            if not child.track_running_stats or child.momentum is None:
                raise UserError(f"{name}: BatchNorm in several processes needs track_running_stats=True, a momentum")
            converted = SyncBatchNorm(child.num_features, child.eps, child.momentum, child.affine)
            for key, value in [*child.named_parameters(), *child.named_buffers()]:
                setattr(converted, key, value)
            setattr(network, name, converted)
        else:
            convert_sync_batchnorm(child)
    return network
