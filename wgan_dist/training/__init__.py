"""The training loop, its steps, and how networks, losses and optimizers are built from the settings."""
