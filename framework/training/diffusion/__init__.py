"""Training of diffusion models of pixels."""
