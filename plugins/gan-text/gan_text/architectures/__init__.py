"""Language models and text GANs: MLE, SeqGAN, RelGAN, GPT and GPT-SeqGAN."""
