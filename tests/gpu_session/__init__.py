"""What holds and how fast it is on the GPU of this machine, as a table: `python -m tests.gpu_session`."""
