"""Cases: read from their sources, drawn into splits, checked for leaks between them."""
