"""Files, pictures and pages of shapes."""
