"""Name or path → images; which images make global batch k."""

from wgan_dist.data.batches import Order, ShareSampler, micro_batches, to_unit_range
from wgan_dist.data.images import Images, open_images

__all__ = ["Images", "Order", "ShareSampler", "micro_batches", "open_images", "to_unit_range"]
