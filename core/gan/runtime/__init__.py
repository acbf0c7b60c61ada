"""This process: its device, its peers in distributed training, and the signals that stop it."""
