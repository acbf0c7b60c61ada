"""Text for `gan`: SeqGAN, RelGAN, a GPT, and the metrics that judge them."""
