"""Image GANs: DCGAN, CycleGAN, pix2pix and CUT, and the layers that they share."""
