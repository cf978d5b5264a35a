"""Adversarial losses, gradient penalties, and the two modules whose forward is a whole loss."""
