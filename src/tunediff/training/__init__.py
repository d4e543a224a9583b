"""Fine-tuning: the training loop, and what each head learns from a case."""
