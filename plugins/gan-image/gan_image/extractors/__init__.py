"""Feature extractors for pictures: one published network a file, its weights proved by sha256."""
