"""The throughput of training between two records, and the share of the time that averaging gradients takes."""

import time

from torch import nn

from wgan_dist import distributed


class ThroughputMeter:
    """Measures real images per second and, with several processes, the averaging of gradients."""

    def __init__(self, batch_size: int, critic: nn.Module, generator: nn.Module) -> None:
        """`critic` and `generator` are the loss modules as wrapped for distribution, which time their averaging."""
        self.batch_size, self.critic, self.generator = batch_size, critic, generator
        self.restart(0, 0)

    def restart(self, step: int, critic_iterations: int) -> None:
        """Start a new measurement at this position of the schedule."""
        self.started, self.step, self.critic_iterations = time.monotonic(), step, critic_iterations

    def measure(self, step: int, critic_iterations: int) -> dict[str, float]:
        """Return `seconds` and `images_per_second` since the start, and `communication_…` with several processes.

        The latter are of gradients, without BatchNorm's exchanges: the bytes averaged in a generator step, the
        milliseconds that this takes, and the share of all time in which nothing is computed meanwhile.
        """
        seconds, steps = time.monotonic() - self.started, max(1, step - self.step)
        iterations = critic_iterations - self.critic_iterations
        values = {"seconds": seconds, "images_per_second": iterations * self.batch_size / seconds}
        critic, generator = map(distributed.traffic, (self.critic, self.generator))
        if critic and generator:
            per_step = iterations / steps
            values |= {
                "communication_bytes": critic.size * per_step + generator.size,
                "communication_ms": 1e3 * (critic.seconds * per_step + generator.seconds),
                "communication_share": (critic.exposed * iterations + generator.exposed * steps) / seconds,
            }
        return values
