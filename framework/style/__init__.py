"""A photograph in the manner of another picture."""
