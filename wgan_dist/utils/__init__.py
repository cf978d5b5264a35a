"""Files, random numbers, images, signals and profiling: helpers that know nothing of GANs."""
