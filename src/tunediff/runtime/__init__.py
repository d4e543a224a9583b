"""What every part stands on: errors, files, hashing, cost, processes, the hub."""
