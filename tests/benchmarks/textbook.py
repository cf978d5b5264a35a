"""Training steps as tutorials and public scripts write them: what `tests.benchmarks.training` is held against.

    python -m tests.benchmarks.textbook dcgan_a 5

prints the seconds of each generator step as JSON. Nothing here is of wgan_dist. All follow Gulrajani et al. 2017 or
Arjovsky et al. 2017 with n_critic 5, in float32. `gemm float32` and `gemm bfloat16` print FLOP/s of matrix products.
"""

import itertools
import json
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

N_CRITIC, WEIGHT, CLIP = 5, 10.0, 0.01
Step = Callable[[], None]


def _dcgan_block(width: int, following: int) -> list[nn.Module]:
    return [
        nn.Conv2d(width, following, 4, 2, 1, bias=False),
        nn.InstanceNorm2d(following, affine=True),
        nn.LeakyReLU(0.2),
    ]


def dcgan_critic(features: int = 64, channels: int = 3) -> nn.Module:
    """Images [n, channels, 64, 64] → scores [n, 1, 1, 1]."""
    return nn.Sequential(
        nn.Conv2d(channels, features, 4, 2, 1),
        nn.LeakyReLU(0.2),
        *_dcgan_block(features, 2 * features),
        *_dcgan_block(2 * features, 4 * features),
        *_dcgan_block(4 * features, 8 * features),
        nn.Conv2d(8 * features, 1, 4, 2, 0),
    )


def dcgan_generator(latent_dim: int = 100, features: int = 64, channels: int = 3) -> nn.Module:
    """z [n, latent_dim, 1, 1] → images [n, channels, 64, 64]."""
    widths = [latent_dim, *(features * multiple for multiple in (16, 8, 4, 2))]
    layers: list[nn.Module] = []
    for number, (width, following) in enumerate(itertools.pairwise(widths)):
        stride, padding = (2, 1) if number else (1, 0)
        convolution = nn.ConvTranspose2d(width, following, 4, stride, padding, bias=False)
        layers += [convolution, nn.BatchNorm2d(following), nn.ReLU()]
    return nn.Sequential(*layers, nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), nn.Tanh())


class UpBlock(nn.Module):
    """BatchNorm-ReLU-double-conv3-BatchNorm-ReLU-conv3, beside double-conv1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(width), nn.BatchNorm2d(width)])
        self.convs = nn.ModuleList([nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)])
        self.shortcut = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[n, width, h, w] → [n, width, 2h, 2w]."""
        double = nn.functional.interpolate
        h = self.convs[0](double(torch.relu(self.norms[0](x)), scale_factor=2))
        return self.convs[1](torch.relu(self.norms[1](h))) + self.shortcut(double(x, scale_factor=2))


class ResNetGenerator(nn.Module):
    """z [n, 128] → images [n, 3, 32, 32]."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.width = width
        self.dense = nn.Linear(128, 16 * width)
        self.blocks = nn.Sequential(UpBlock(width), UpBlock(width), UpBlock(width))
        self.last = nn.Sequential(nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, 3, 3, 1, 1), nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """As the class says."""
        return self.last(self.blocks(self.dense(z).view(-1, self.width, 4, 4)))


class CriticBlock(nn.Module):
    """ReLU-conv3-ReLU-conv3, halved or not, beside a shortcut; the first of all does not begin with ReLU."""

    def __init__(self, width: int, following: int, halve: bool, first: bool = False) -> None:
        super().__init__()
        self.halve, self.first = halve, first
        self.convs = nn.ModuleList([nn.Conv2d(width, following, 3, 1, 1), nn.Conv2d(following, following, 3, 1, 1)])
        self.shortcut = nn.Conv2d(width, following, 1) if halve else nn.Identity()

    def _half(self, x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 2) if self.halve else x

    def forward(self, x: Tensor) -> Tensor:
        """[n, width, h, w] → [n, following, h or h / 2, w or w / 2]."""
        h = self._half(self.convs[1](torch.relu(self.convs[0](x if self.first else torch.relu(x)))))
        return h + (self.shortcut(self._half(x)) if self.first else self._half(self.shortcut(x)))


class ResNetCritic(nn.Module):
    """Images [n, 3, 32, 32] → scores [n, 1]."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            CriticBlock(3, width, halve=True, first=True),
            CriticBlock(width, width, halve=True),
            CriticBlock(width, width, halve=False),
            CriticBlock(width, width, halve=False),
        )
        self.dense = nn.Linear(width, 1)

    def forward(self, images: Tensor) -> Tensor:
        """As the class says."""
        return self.dense(torch.relu(self.blocks(images)).mean((2, 3)))


def mlp_generator() -> nn.Module:
    """z [n, 100] → images [n, 1, 28, 28]."""
    widths = [100, 256, 512, 1024]
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise(widths):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))


def mlp_critic() -> nn.Module:
    """Images [n, 1, 28, 28] → scores [n, 1]."""
    activation = nn.LeakyReLU(0.2)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 512), activation, nn.Linear(512, 256), activation, nn.Linear(256, 1)
    )


def gradient_penalty(critic: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """mean (‖∇D(x̂)‖ − 1)² as every tutorial has it."""
    alpha = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device)
    mixed = (alpha * real + (1 - alpha) * fake).requires_grad_(True)
    scores = critic(mixed)
    (gradient,) = torch.autograd.grad(scores, mixed, torch.ones_like(scores), create_graph=True, retain_graph=True)
    return ((gradient.flatten(1).norm(2, dim=1) - 1) ** 2).mean()


def _adam(network: nn.Module, lr: float = 1e-4) -> torch.optim.Optimizer:
    return torch.optim.Adam(network.parameters(), lr=lr, betas=(0.0, 0.9))


def step_a(critic: nn.Module, generator: nn.Module, reals: Iterator[Tensor], latent: Callable[[], Tensor]) -> Step:
    """Fakes not detached, three critic passes, `retain_graph`, one real batch and the last fakes reused."""
    critic_optimizer, generator_optimizer = _adam(critic), _adam(generator)

    def step() -> None:
        real = next(reals)
        for _ in range(N_CRITIC):
            fake = generator(latent())
            real_scores, fake_scores = critic(real), critic(fake)
            loss = fake_scores.mean() - real_scores.mean() + WEIGHT * gradient_penalty(critic, real, fake)
            critic.zero_grad()
            loss.backward(retain_graph=True)
            critic_optimizer.step()
        generator_loss = -critic(fake).mean()
        generator.zero_grad()
        generator_loss.backward()
        generator_optimizer.step()

    return step


def step_b(critic: nn.Module, generator: nn.Module, reals: Iterator[Tensor], latent: Callable[[], Tensor]) -> Step:
    """Fakes detached, separate passes, everything drawn anew."""
    critic_optimizer, generator_optimizer = _adam(critic), _adam(generator)

    def step() -> None:
        for _ in range(N_CRITIC):
            real, fake = next(reals), generator(latent()).detach()
            loss = critic(fake).mean() - critic(real).mean() + WEIGHT * gradient_penalty(critic, real, fake)
            critic_optimizer.zero_grad()
            loss.backward()
            critic_optimizer.step()
        generator_optimizer.zero_grad()
        (-critic(generator(latent())).mean()).backward()
        generator_optimizer.step()

    return step


def step_clip(critic: nn.Module, generator: nn.Module, reals: Iterator[Tensor], latent: Callable[[], Tensor]) -> Step:
    """Weight clipping and RMSprop; the generator takes the last latents again."""
    critic_optimizer, generator_optimizer = (
        torch.optim.RMSprop(network.parameters(), lr=5e-5) for network in (critic, generator)
    )

    def step() -> None:
        for _ in range(N_CRITIC):
            z = latent()
            critic_optimizer.zero_grad()
            loss = critic(generator(z).detach()).mean() - critic(next(reals)).mean()
            loss.backward()
            critic_optimizer.step()
            for parameter in critic.parameters():
                parameter.data.clamp_(-CLIP, CLIP)
        generator_optimizer.zero_grad()
        (-critic(generator(z)).mean()).backward()
        generator_optimizer.step()

    return step


class _Pictures(Dataset[Tensor]):
    """As many grey pictures as MNIST trains on, through the transforms that its tutorials apply."""

    def __init__(self, size: int = 28, count: int = 60_000) -> None:
        self.pixels = np.random.default_rng(0).integers(0, 256, (count, size, size), dtype=np.uint8)
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize([0.5], [0.5])])

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(Image.fromarray(self.pixels[index]))


def _loaded(batch_size: int) -> Iterator[Tensor]:
    while True:
        yield from DataLoader(_Pictures(), batch_size, shuffle=True, drop_last=True)


def _repeated(*shape: int) -> Iterator[Tensor]:
    """Images that cost nothing: what an endlessly fast loader would give."""
    return itertools.repeat(torch.rand(*shape) * 2 - 1)


def _latents(*shape: int) -> Callable[[], Tensor]:
    return lambda: torch.randn(*shape)


CASES: dict[str, Callable[[], Step]] = {
    "dcgan_a": lambda: step_a(dcgan_critic(), dcgan_generator(), _repeated(32, 3, 64, 64), _latents(32, 100, 1, 1)),
    "dcgan_b": lambda: step_b(dcgan_critic(), dcgan_generator(), _repeated(32, 3, 64, 64), _latents(32, 100, 1, 1)),
    "resnet": lambda: step_b(ResNetCritic(), ResNetGenerator(), _repeated(64, 3, 32, 32), _latents(64, 128)),
    "mlp_clip": lambda: step_clip(mlp_critic(), mlp_generator(), _loaded(64), _latents(64, 100)),
    "mlp_gp": lambda: step_b(mlp_critic(), mlp_generator(), _loaded(64), _latents(64, 100)),
}


def matrix_speed(dtype: torch.dtype, size: int = 2048, rounds: int = 9) -> float:
    """The best FLOP/s of a product of two square matrices."""
    a, b = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    best = float("inf")
    for _ in range(rounds):
        started = time.perf_counter()
        for _ in range(4):
            a @ b
        best = min(best, (time.perf_counter() - started) / 4)
    return 2.0 * size**3 / best


def main() -> None:
    case, argument = sys.argv[1], sys.argv[2]
    if case == "gemm":
        print(json.dumps(matrix_speed(getattr(torch, argument))))
        return
    steps = int(argument)
    step, seconds = CASES[case](), []
    for _ in range(steps):
        started = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - started)
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
