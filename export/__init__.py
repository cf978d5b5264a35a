"""Exports of trained generators, each checked against its network, and a sampler that needs no torch."""
