"""Diffusion models: noise schedules, U-Nets of pixels and of latents."""
