"""tunediff: what fine-tuning changed, case by case; whether it was worth the GPU; how far to trust the test set."""
