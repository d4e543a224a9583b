"""Synthetic data: data that the project's own grammars generate, with no download."""
