"""Networks by family: StyleGAN2, encoders of pictures, networks that compare pictures."""
