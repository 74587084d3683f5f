"""`whence sae contrast`: what of an SAE goes with attribution: statistics of rows, and features."""
