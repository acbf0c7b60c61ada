"""Parts that a recipe adds to any architecture: InfoGAN's codes (`gan.parts.codes`)."""
