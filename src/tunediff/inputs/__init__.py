"""Inputs of models, shared by training and engines: prompts, chats, tokens, windows, padding."""
