"""Networks by family; today StyleGAN2."""
