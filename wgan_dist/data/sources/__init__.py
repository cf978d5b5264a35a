"""Sources of images: one adapter for each format, and the registry that chooses one for a value of `--data`."""
