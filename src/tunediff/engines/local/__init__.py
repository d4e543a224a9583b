"""The local engine: transformers in this process."""
