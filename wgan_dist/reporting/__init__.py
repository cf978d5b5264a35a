"""The report on runs, as one HTML page, and the model card of a generator."""
