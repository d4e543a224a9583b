"""Models behind a server with OpenAI's interface: asked over HTTP, and believed after a check."""
