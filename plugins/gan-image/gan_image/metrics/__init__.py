"""Image metrics: distances between sets, similarity to paired targets, perceptual distances."""
