"""Functions that compute metrics from pixels, from features and from points."""
