"""Metrics of generated images and points, and what they are computed with."""
