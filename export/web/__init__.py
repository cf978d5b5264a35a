"""A web page that samples from a generator in the visitor's browser."""
