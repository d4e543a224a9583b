"""The sections of params.yaml, their loading, and the rules between them."""
