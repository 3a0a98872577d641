"""The StyleGAN2 of data/weights: it copies what the DCGAN draws, then is judged by a discriminator."""
