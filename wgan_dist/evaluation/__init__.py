"""Metrics of generated images and points, and the evaluators that compute them over all processes."""
