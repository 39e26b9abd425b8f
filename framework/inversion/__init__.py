"""A photograph to latents: embed, refine, tune; and the inverted image that they end in."""
