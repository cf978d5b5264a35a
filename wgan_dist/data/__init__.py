"""Name or path → images or points; which of them make global batch k."""

from wgan_dist.data.batches import Order, ShareSampler, as_inputs, micro_batches, mirrored, to_unit_range
from wgan_dist.data.holdout import Split, split
from wgan_dist.data.images import Images, decoding_voice, open_images
from wgan_dist.data.points import Points, are_points, open_points

DataSet = Images | Points

__all__ = [
    "DataSet",
    "Images",
    "Order",
    "Points",
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
    "to_unit_range",
]
