"""Text metrics: BLEU, Self-BLEU, distinct n-grams and likelihoods."""
