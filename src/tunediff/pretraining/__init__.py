"""A base model from scratch: text, tokenizer, masks, the run."""
