"""Image encoders: pictures to latents."""
