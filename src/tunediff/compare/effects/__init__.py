"""Effects: the changes between two models, each figure with its interval."""
