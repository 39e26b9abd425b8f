"""Training of a decoder of styles."""
