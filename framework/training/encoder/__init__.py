"""Training of an encoder on a frozen generator."""
