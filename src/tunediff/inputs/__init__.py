"""What training and engines both read: prompts, windows, padding."""
