"""Take training steps on the null CUDA device and print what they asked it for.

python -m tests.null_cuda.steps WORLD_SIZE < cases.json > counts.json

The input maps names to settings of a run. The output maps each name to the fields of `Counts`, or to {"error": …}. With
more than one process this is the first of them, and torch's fake process group takes the place of the others.
"""

import dataclasses
import json
import os
import sys
import traceback
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.testing._internal.distributed.fake_pg import FakeStore  # its module registers the backend

from tests.null_cuda import device
from tests.single_steps import start
from wgan_dist.checkpoints.train_state import TrainState
from wgan_dist.config import Config, load_config
from wgan_dist.data.datasets import Dataset, ImageDataset, PointDataset
from wgan_dist.data.labels import Labels
from wgan_dist.data.points import are_points
from wgan_dist.training.build_run import TrainingRun, build_run
from wgan_dist.training.callbacks import Callback, Callbacks, StepResult
from wgan_dist.training.trainer import Trainer
from wgan_dist.utils.levels import UINT16, Levels

# Torch fills its caches in the first step. The last one is counted.
SETTINGS = {"data": "images in memory", "max_steps": "3", "n_critic": "2", "mixed_precision": "no", "threads": "1"}


@dataclass(frozen=True)
class Counts:
    """What the device was asked for in the last step.

    Attributes:
        critic: The launches of a critic iteration, with its real samples and its noise. Exchanges between processes are
            not NCCL's: the fake process group launches a copy for each process to gather, and nothing to reduce.
        generator: The launches of a generator step without its critic iterations, with the moving average.
        waits: The events for which the host waits, in a generator step with its critic iterations.
    """

    critic: int
    generator: int
    waits: list[str]


class _Marks(Callback):
    """How many events there were before each critic iteration and after each generator step."""

    def __init__(self) -> None:
        self.positions: list[int] = []

    def on_critic_iteration_begin(self, state: TrainState) -> None:
        self.positions.append(device.count())

    def on_step_end(self, state: TrainState, result: StepResult) -> None:
        self.positions.append(device.count())


def counts_between(marks: list[int]) -> Counts:
    """Count the events of the last step, from marks before each critic iteration and after each generator step.

    The generator step begins without a mark: it is what follows the last critic iteration.
    """
    *_, first, second, end = marks
    events = device.events()
    critic = device.launches(events[first:second])
    waits = [f"{event.name} of {event.size} bytes" for event in device.host_waits(events[first:end])]
    return Counts(critic, device.launches(events[second:end]) - critic, waits)


def _data(config: Config) -> Dataset:
    """Return enough samples for one epoch of a few batches, all zero: with levels chosen, images of 16 bits."""
    count = 4 * config.batch_size
    if are_points(config.data):
        return PointDataset("zeros", np.zeros((count, 2), np.float32), None)
    shape = (count, config.channels or 1, *config.image_size)
    if config.levels == Config.levels:
        labels = Labels(("a", "b", "c"), np.arange(count) % 3) if config.labels != Config.labels else None
        return ImageDataset("zeros", np.zeros(shape, np.uint8), "", (), labels=labels)
    levels = Levels(UINT16, (0.0,) * shape[1], (1000.0,) * shape[1])
    return ImageDataset("zeros", np.zeros(shape, np.uint16), "", (), levels=levels)


def _average(_: None, bucket: dist.GradBucket) -> torch.futures.Future[torch.Tensor]:  # type: ignore[name-defined]
    """Average a bucket of gradients: the fake group's own result is not one that DistributedDataParallel can use."""
    average = bucket.buffer().div_(dist.get_world_size())
    dist.all_reduce(average)
    future: torch.futures.Future[torch.Tensor] = torch.futures.Future()
    future.set_result(average)
    return future


def _build(settings: dict[str, str]) -> TrainingRun:
    config = load_config(SETTINGS | settings)
    run = build_run(config, start(config), _data(config))
    for network in run.gan.networks().values():
        if isinstance(network.loss, DistributedDataParallel):
            network.loss.register_comm_hook(None, _average)
    return run


def take_steps(settings: dict[str, str]) -> Counts:
    """Build a run, take its steps and count the last one."""
    run, marks = _build(settings), _Marks()
    device.reset()
    trainer = Trainer(run.gan, run.real_batches, run.noise, run.schedule, TrainState(), Callbacks([marks]))
    trainer.train()
    return counts_between(marks.positions)


def _result(settings: dict[str, str]) -> dict[str, object]:
    try:
        return dataclasses.asdict(take_steps(settings))
    except Exception:  # of whatever kind: the other cases run, and the test shows it
        return {"error": traceback.format_exc()}


def _join_fake_world(size: int) -> None:
    """Become the first of `size` processes, the others of which do not exist."""
    local = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    os.environ |= local | {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    dist.init_process_group("fake", rank=0, world_size=size, store=FakeStore())
    new_group = dist.new_group
    # Another backend would wait for the other processes.
    patch.object(dist, "new_group", lambda **options: new_group(**(options | {"backend": "fake"}))).start()


def main() -> None:
    """Read the cases, run them and print the results."""
    size, cases = int(sys.argv[1]), json.load(sys.stdin)
    if size > 1:
        _join_fake_world(size)
    print(json.dumps({name: _result(settings) for name, settings in cases.items()}))


if __name__ == "__main__":
    main()
