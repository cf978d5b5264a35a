"""The training loop: n critic iterations, then one generator step (Gulrajani et al. 2017, algorithm 1)."""

from contextlib import closing

from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.training.callbacks import Callbacks, StepResult
from wgan_dist.training.noise import TrainingNoise
from wgan_dist.training.real_batches import RealBatches
from wgan_dist.training.schedule import Schedule
from wgan_dist.training.steps import GAN, critic_step, generator_step
from wgan_dist.utils.profiler import phase


class Trainer:
    """Train a GAN from where `state` is until the schedule or a callback ends the run.

    Stopping, evaluation, the control of adaptive augmentation, logging, samples and checkpoints are callbacks.
    """

    def __init__(
        self,
        gan: GAN,
        real_batches: RealBatches,
        noise: TrainingNoise,
        schedule: Schedule,
        state: TrainState,
        callbacks: Callbacks,
    ) -> None:
        self.gan, self.real_batches, self.noise = gan, real_batches, noise
        self.schedule, self.state, self.callbacks = schedule, state, callbacks

    def train(self) -> None:
        """Run the loop. Raises Stopped, with everything saved, when a signal asked any process to stop."""
        gan, state, schedule, callbacks = self.gan, self.state, self.schedule, self.callbacks
        with callbacks.active(state), closing(self.real_batches), closing(self.noise):
            while state.step < schedule.max_steps and not callbacks.should_stop(state):
                callbacks.on_step_begin(state)
                set_learning_rates(gan, schedule.learning_rates(state.step))
                # At least one iteration remains: no checkpoint lies between the last one and the generator step.
                while state.critic_iteration < schedule.critic_iterations(state.step):
                    callbacks.on_critic_iteration_begin(state)
                    real = self.real_batches.batch(state.step, state.total_critic_iterations)
                    with phase("noise"):
                        noise = self.noise.critic(state.total_critic_iterations)
                    with_penalty = schedule.has_penalty(state.total_critic_iterations)
                    metrics = critic_step(gan, real, noise, with_penalty)
                    state.finish_critic_iteration()
                metrics |= generator_step(gan, self.noise.generator(state.step, noise), real)
                with phase("moving average"):
                    gan.ema.update(state.step)
                state.finish_step()
                callbacks.on_step_end(state, StepResult(metrics))


def set_learning_rates(gan: GAN, learning_rates: dict[str, float]) -> None:
    """Set the learning rate of each network's optimizer."""
    for name, network in gan.networks().items():
        for group in network.optimizer.param_groups:
            group["lr"] = learning_rates[name]
