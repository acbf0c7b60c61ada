"""Metrics of phrases: statistics for people, and feature vectors for distances between distributions."""
