"""Training checkpoints, the portable generator file, and the run folder."""
