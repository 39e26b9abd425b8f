"""Training of a network that fills holes."""
