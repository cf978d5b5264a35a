"""Gaussian random fields as a source of images, computed when they are read."""

from wgan_dist.data.random_fields import COUNT, EXPONENT, FLAT_UNTIL, SEED, SIDE, random_fields
from wgan_dist.data.sources.base import ImageListing, Source
from wgan_dist.data.sources.paths import hash_of


def random_field_source(name: str) -> Source:
    """Return the source of all random fields, float32 [1, SIDE, SIDE]."""
    names = [f"field {number}" for number in range(COUNT)]
    identity = hash_of([name, COUNT, SIDE, FLAT_UNTIL, EXPONENT, SEED])
    return Source(name, identity, lambda: ImageListing(names, lambda index: random_fields(1, index)))
