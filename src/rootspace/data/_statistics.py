"""Channel statistics of ImageNet, for photographs of any kind, as most image models use them."""

IMAGENET_RGB = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and standard deviation of each channel, for pixels in [0, 1]."""

IMAGENET_GREY = ((0.449,), (0.226,))
"""Likewise, of the luminance."""
