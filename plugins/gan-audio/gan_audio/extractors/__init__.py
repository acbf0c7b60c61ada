"""Networks with fixed weights that judge sounds. Their weights are files of the user, by path and SHA-256."""
