"""Feature extractors for images: one published network per module, with weights verified by sha256."""
