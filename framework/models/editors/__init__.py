"""Networks that change latents as they are asked to."""
