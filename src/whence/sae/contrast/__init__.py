"""`whence sae contrast`: what of an SAE goes with attribution: statistics of rows, and features."""

from whence.sae.contrast.command import ContrastConfig, ContrastResult, contrast

__all__ = ["ContrastConfig", "ContrastResult", "contrast"]
