"""Architectures that generate shapes."""
