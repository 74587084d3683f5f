"""Importance of sentences from rollouts, as published and recomputed, with standard errors."""
