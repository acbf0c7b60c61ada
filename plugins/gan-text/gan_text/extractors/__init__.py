"""Feature extractors for text."""
