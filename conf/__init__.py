"""Hydra configuration: the root and its groups."""
