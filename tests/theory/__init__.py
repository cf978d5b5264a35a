"""Measurements of what the papers promise: commands that print tables and draw figures."""
