"""Model cards, and the publishing of models with them."""
