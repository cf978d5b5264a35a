"""Wasserstein GANs: train on one core or a cluster with the same result, export to one file that samples fast.

    import wgan_dist

    run = wgan_dist.fit(data="photos/", image_size=64, run_dir="runs/cats")
    images = wgan_dist.Generator.from_pretrained(run).sample(16, seed=0)  # uint8 [16, 64, 64, 3]

A name is loaded when it is first used, torch with it if it needs torch. `export.sampler.Sampler` draws from an exported
file without torch. What is not in `__all__` may change from version to version.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wgan_dist.config import Config, load_config
    from wgan_dist.hub import Generator
    from wgan_dist.reporting.model_card import write_card
    from wgan_dist.train import fit
    from wgan_dist.utils.errors import LostError, UserError

__version__ = "0.1.0"
__all__ = ["Config", "Generator", "LostError", "UserError", "fit", "load_config", "write_card"]
_PLACES = {
    "Config": "config",
    "Generator": "hub",
    "LostError": "utils.errors",
    "UserError": "utils.errors",
    "fit": "train",
    "load_config": "config",
    "write_card": "reporting.model_card",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
