"""Wasserstein GANs in PyTorch: train on one core or on a cluster with the same result, and export for fast sampling.

    import wgan_dist

    run = wgan_dist.fit(data="photos/", image_size=64, run_dir="runs/cats")
    images = wgan_dist.Generator.from_pretrained(run).sample(16, seed=0)  # uint8 [16, 64, 64, 3]

Each name is imported when it is first used, so that `import wgan_dist` does not import torch. To sample from an
exported file without torch, use `export.sampler.Sampler`. Only the names in `__all__` are stable between versions.
"""

import importlib
import sys

if sys.argv[:1] == ["-m"]:  # a command leaves the working folder before it imports what a file there could replace
    from wgan_dist.utils import working_folder

    working_folder.leave()

from typing import TYPE_CHECKING, Any  # noqa: E402

if TYPE_CHECKING:
    from wgan_dist.config import Config, load_config
    from wgan_dist.hub import Generator
    from wgan_dist.reporting.model_card import write_card
    from wgan_dist.train import fit
    from wgan_dist.utils.errors import LostError, UserError

__version__ = "0.1.0"
__all__ = ["Config", "Generator", "LostError", "UserError", "fit", "load_config", "write_card"]
_MODULES = {
    "Config": "config",
    "Generator": "hub",
    "LostError": "utils.errors",
    "UserError": "utils.errors",
    "fit": "train",
    "load_config": "config",
    "write_card": "reporting.model_card",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
