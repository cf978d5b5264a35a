"""Wasserstein GANs: train on one core or a cluster with the same result, export to one file that samples fast."""

__version__ = "0.1.0"
