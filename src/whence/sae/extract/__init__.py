"""Rows through a model and its sparse autoencoders, and what is left of each row."""

from whence.sae.extract.command import ExtractConfig, ExtractResult, extract

__all__ = ["ExtractConfig", "ExtractResult", "extract"]
