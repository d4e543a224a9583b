"""Metrics of gold labels or answers, predictions and log-probabilities."""
