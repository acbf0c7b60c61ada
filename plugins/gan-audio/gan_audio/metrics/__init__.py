"""Metrics and features of sounds."""
