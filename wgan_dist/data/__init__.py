"""Data: from the value of `--data` to images or points, and which of them make each global batch."""
