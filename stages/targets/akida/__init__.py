"""The akida target: an 8-bit model for BrainChip's Akida 2 processors (`model.fbz`)."""
