"""`whence sae validate`: what a prediction goes with, and what it knows beyond the reward model."""

from whence.sae.validate.command import ValidateConfig, ValidateResult, validate

__all__ = ["ValidateConfig", "ValidateResult", "validate"]
