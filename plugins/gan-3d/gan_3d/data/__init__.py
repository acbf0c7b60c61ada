"""Named datasets."""
