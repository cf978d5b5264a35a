"""A web page that draws samples in the visitor's browser."""
