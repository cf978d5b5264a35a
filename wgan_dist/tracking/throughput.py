"""How fast a run is between two records, and which part of that time goes into averaging gradients."""

import time

from torch import nn

from wgan_dist import distributed


class ThroughputMeter:
    """A clock that knows where in the schedule it was started."""

    def __init__(self, batch_size: int, critic: nn.Module, generator: nn.Module) -> None:
        """`critic` and `generator` are the objectives as wrapped for distribution, which measure their averaging."""
        self.batch_size, self.critic, self.generator = batch_size, critic, generator
        self.restart(0, 0)

    def restart(self, step: int, critic_iterations: int) -> None:
        """From now on count anew."""
        self.started, self.step, self.critic_iterations = time.monotonic(), step, critic_iterations

    def measure(self, step: int, critic_iterations: int) -> dict[str, float]:
        """Since the start: seconds, real images per second, and with several processes `communication_…`.

        Those are of gradients, without BatchNorm's exchanges: per generator step the bytes that are averaged and the
        milliseconds it takes, and of all time the share that computing does not hide.
        """
        seconds, steps = time.monotonic() - self.started, max(1, step - self.step)
        iterations = critic_iterations - self.critic_iterations
        pace = {"seconds": seconds, "images_per_second": iterations * self.batch_size / seconds}
        critic, generator = map(distributed.traffic, (self.critic, self.generator))
        if critic and generator:
            each = iterations / steps
            pace |= {
                "communication_bytes": critic.size * each + generator.size,
                "communication_ms": 1e3 * (critic.seconds * each + generator.seconds),
                "communication_share": (critic.exposed * iterations + generator.exposed * steps) / seconds,
            }
        return pace
