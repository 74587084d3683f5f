"""`whence sae validate`: what a prediction goes with, and what it knows beyond the reward model."""
