"""Meshes and grids from untrusted files."""
