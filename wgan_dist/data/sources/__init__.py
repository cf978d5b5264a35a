"""Where images come from: one adapter for each format."""
