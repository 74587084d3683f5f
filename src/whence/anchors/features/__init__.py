"""Activations of sentences: captured once per trace and model, kept apart from labels."""
