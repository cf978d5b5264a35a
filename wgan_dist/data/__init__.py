"""Data: from the value of `--data` to images or points, and which of them make each global batch."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wgan_dist.data.datasets import Dataset, ImageDataset, PointDataset, open_images, open_points
    from wgan_dist.data.decoding import progress_reporter
    from wgan_dist.data.holdout import Split, split, split_holdout
    from wgan_dist.data.samplers import Order, ShareSampler, as_inputs, micro_batches, mirrored, to_unit_range
    from wgan_dist.data.synthetic import are_points

__all__ = ["Dataset", "ImageDataset", "PointDataset", "open_images", "open_points", "are_points", "progress_reporter"]
__all__ += ["Split", "split", "split_holdout"]
__all__ += ["Order", "ShareSampler", "as_inputs", "micro_batches", "mirrored", "to_unit_range"]

# A name is loaded when it is first used, so that `python -m wgan_dist.data --help` does not wait for torch.
_MODULES = {"are_points": "synthetic", "progress_reporter": "decoding"}
_MODULES |= dict.fromkeys(("Split", "split", "split_holdout"), "holdout")
_MODULES |= dict.fromkeys(("Dataset", "ImageDataset", "PointDataset", "open_images", "open_points"), "datasets")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'samplers')}"), name)
