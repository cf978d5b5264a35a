"""Generators and critics: one file for each family, and the registry that builds them by name."""
