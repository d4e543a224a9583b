"""Cases: read from sources, sampled into splits, and checked for leaks between the splits."""
