"""Take a tutorial's steps on the null CUDA device and print what they asked it for.

python -m tests.null_cuda.textbook_steps < cases.json > counts.json

The input maps names to [case, precision], with a case of CASES; the output is as that of tests.null_cuda.steps.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tests.benchmarks import textbook
from tests.null_cuda import device
from tests.null_cuda.steps import Counts, counts_between

STEPS, CRITIC_ITERATIONS = 3, 2
DTYPES = {"float32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Case:
    """Both networks of a tutorial, and the shapes of a batch of latents and of a batch of images."""

    critic: Callable[[], nn.Module]
    generator: Callable[[], nn.Module]
    latents: tuple[int, ...]
    images: tuple[int, ...]


CASES = {
    "dcgan": Case(textbook.dcgan_critic, textbook.dcgan_generator, (64, 100, 1, 1), (64, 3, 64, 64)),
    "resnet": Case(textbook.ResNetCritic, textbook.ResNetGenerator, (64, 128), (64, 3, 32, 32)),
    "mlp": Case(textbook.mlp_critic, textbook.mlp_generator, (64, 100), (64, 1, 28, 28)),
}


class Loop:
    """WGAN-GP with fused Adam: fakes detached, separate passes, everything drawn anew on the device."""

    def __init__(self, case: Case, dtype: torch.dtype | None) -> None:
        """Build the networks of a case; `dtype` is the half precision of autocast, or None."""
        self.critic, self.generator = case.critic().cuda(), case.generator().cuda()
        self.critic_optimizer, self.generator_optimizer = (
            torch.optim.Adam(network.parameters(), lr=1e-4, betas=(0.0, 0.9), fused=True)
            for network in (self.critic, self.generator)
        )
        self.latents, self.real = case.latents, torch.zeros(case.images, device="cuda")
        self.autocast = torch.autocast("cuda", dtype or torch.bfloat16, enabled=dtype is not None)

    def _fakes(self) -> Tensor:
        return self.generator(torch.randn(self.latents, device="cuda"))

    def critic_iteration(self) -> None:
        """Train the critic once."""
        with self.autocast:
            fake = self._fakes().detach()
            penalty = textbook.gradient_penalty(self.critic, self.real, fake)
            loss = self.critic(fake).mean() - self.critic(self.real).mean() + textbook.WEIGHT * penalty
        self.critic_optimizer.zero_grad()
        loss.backward()
        self.critic_optimizer.step()

    def generator_step(self) -> None:
        """Train the generator once."""
        with self.autocast:
            loss = -self.critic(self._fakes()).mean()
        self.generator_optimizer.zero_grad()
        loss.backward()
        self.generator_optimizer.step()


def take_steps(case: Case, dtype: torch.dtype | None) -> Counts:
    """Take a few steps and count the last one."""
    loop, marks = Loop(case, dtype), []
    device.reset()
    for _ in range(STEPS):
        for _ in range(CRITIC_ITERATIONS):
            marks.append(device.count())
            loop.critic_iteration()
        loop.generator_step()
        marks.append(device.count())
    return counts_between(marks)


def main() -> None:
    """Read the cases, run them and print the results."""
    cases = json.load(sys.stdin)
    found = {name: take_steps(CASES[case], DTYPES[precision]) for name, (case, precision) in cases.items()}
    print(json.dumps({name: dataclasses.asdict(counts) for name, counts in found.items()}))


if __name__ == "__main__":
    main()
