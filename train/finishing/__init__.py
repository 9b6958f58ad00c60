"""From gathered frames to the images that the network sees: augmentation, decibel or PCEN, normalising."""
