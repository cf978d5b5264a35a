"""Exports of trained generators, each checked against its network, and a sampler that needs no torch."""

import sys

if sys.argv[:1] == ["-m"]:  # a command leaves the working folder before it imports anything else
    import wgan_dist.utils.working_folder  # noqa: F401
