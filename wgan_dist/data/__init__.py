"""Name or path → images or points; which of them make global batch k."""

from wgan_dist.data.datasets import ImageDataset, decoding_voice, open_images
from wgan_dist.data.samplers import Order, ShareSampler, as_inputs, micro_batches, mirrored
from wgan_dist.data.split import Split, split
from wgan_dist.data.synthetic import PointDataset, are_points, open_points

Dataset = ImageDataset | PointDataset

__all__ = [
    "Dataset",
    "ImageDataset",
    "Order",
    "PointDataset",
    "ShareSampler",
    "Split",
    "are_points",
    "as_inputs",
    "decoding_voice",
    "micro_batches",
    "mirrored",
    "open_images",
    "open_points",
    "split",
]
