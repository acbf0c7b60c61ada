"""Decoding and encoding of video files, and datasets that are drawn."""
