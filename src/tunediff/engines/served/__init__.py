"""The engine for models on a server with OpenAI's interface, which is checked before use."""
