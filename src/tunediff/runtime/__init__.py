"""Infrastructure shared by all packages: errors, files, hashing, cost, processes, the hub."""
