"""Metrics of sets of shapes."""
