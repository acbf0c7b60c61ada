"""Parts of architectures: InfoGAN's `codes`, `freezing` of layers, layers of style-based generators (`style`)."""
