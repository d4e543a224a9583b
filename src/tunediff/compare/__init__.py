"""Two prediction files in, findings out: what changed, case by case."""
