"""Networks that fill holes in pictures."""
