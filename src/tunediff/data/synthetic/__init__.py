"""Built-in worlds: data that the project's own grammars generate, with no download."""
