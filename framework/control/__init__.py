"""Control of latents: which layers do what, directions in them, and what is mixed of two."""
