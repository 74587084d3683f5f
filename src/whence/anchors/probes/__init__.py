"""Probes: what predicts a sentence's importance, from its place, its words, or its activations."""
