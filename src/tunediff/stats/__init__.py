"""Intervals and paired tests: counts in, numbers out."""
