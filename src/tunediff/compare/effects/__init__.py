"""What changed, each figure with its interval."""
