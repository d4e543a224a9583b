"""The training engine: models from scratch, adapters, heads."""
