"""Training of a text encoder."""
