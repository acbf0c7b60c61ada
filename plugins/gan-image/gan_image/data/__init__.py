"""Image data: decoding of image files, and the named datasets."""
