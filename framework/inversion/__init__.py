"""From a photograph to latents: embed, refine, tune; and the resulting inverted image."""
