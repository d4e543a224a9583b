"""Two prediction files, read and paired."""
