"""Generative models of piano rolls, one architecture per file, and the layers that they share."""
