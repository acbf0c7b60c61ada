"""Architectures: each module is one method."""
