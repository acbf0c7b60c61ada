"""Augmentations of what a discriminator sees: differentiable, on the device, alike for real and generated images."""
