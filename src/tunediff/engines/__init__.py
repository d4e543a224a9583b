"""The prediction engine: prompts, choices scored by log-likelihood, free generation, classification heads."""
