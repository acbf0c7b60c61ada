"""Building blocks of the architectures: the LSTM generator, token sampling, likelihoods and rollouts."""
