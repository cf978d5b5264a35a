"""Trained generators as graph files that prove themselves equal, and a sampler that needs no torch."""
