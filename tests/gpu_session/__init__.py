"""Checks and timings on the GPU of this machine, as a table: `python -m tests.gpu_session`."""
