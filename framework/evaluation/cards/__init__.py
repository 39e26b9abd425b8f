"""Model cards, and models published with them."""
