"""Training of a StyleGAN2: objectives, regularisation, augmentation and the LightningModule."""
