"""The buckets in which DistributedDataParallel averages gradients: settled before the first step of a run."""

import torch
from torch.nn.parallel import DistributedDataParallel

from wgan_dist.training.noise import CriticNoise, GeneratorNoise
from wgan_dist.training.real_batches import RealBatch
from wgan_dist.training.steps import GAN, critic_inputs, generator_inputs


def settle_gradient_buckets(gan: GAN, real: RealBatch, critic: CriticNoise, generator: GeneratorNoise) -> None:
    """Run each loss forward and backward once, and forget the results.

    DistributedDataParallel orders the gradients anew after its first backward pass. With three processes or more, the
    place of a gradient decides in which order the values of the processes are added, and so its last bits. A resumed
    run would begin in the first order again, where the uninterrupted run has the second. Without other processes this
    does nothing.

    Args:
        gan: The networks, which are the same afterwards.
        real: Samples of the shapes of a critic iteration's micro-batches, and labels; their values do not matter.
        critic: Noise of a critic iteration.
        generator: Noise of a generator step.
    """
    if not isinstance(gan.critic.loss, DistributedDataParallel):
        return
    buffers = gan.critic.scaler.buffers
    buffers.save()
    for trained, inputs in (
        (gan.critic, critic_inputs(gan, real, critic)),
        (gan.generator, generator_inputs(gan, generator, real)),
    ):
        with gan.autocast():
            loss, _ = trained.loss(*next(inputs))
        loss.backward()
        trained.optimizer.zero_grad()
    buffers.restore(torch.ones((), dtype=torch.bool, device=loss.device))
