"""Networks that follow points from picture to picture."""
