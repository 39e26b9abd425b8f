"""Training of a latent transformer, the editor of a generator."""
