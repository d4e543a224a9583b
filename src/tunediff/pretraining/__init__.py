"""Pretraining of a base model from scratch: text, tokenizer, masks, training."""
