"""What lies on disk: written whole or not at all, and verified when read."""
