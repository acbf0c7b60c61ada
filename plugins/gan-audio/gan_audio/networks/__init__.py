"""Parts that several architectures share: codebooks, the loss balancer, spectral losses."""
