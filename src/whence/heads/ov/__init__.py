"""What a head writes: its mean OV output and its OV circuit, in tokens; comparisons of them."""
