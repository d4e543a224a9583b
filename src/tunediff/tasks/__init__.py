"""What a case is in each task, and how a free answer is read."""
