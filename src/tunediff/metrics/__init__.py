"""Scorers: gold, predictions and log-probabilities in, flat numbers out."""
