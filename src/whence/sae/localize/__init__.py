"""Features back to the tokens, turns and spans that they are active in."""

from whence.sae.localize.command import LocalizeConfig, LocalizeResult, localize

__all__ = ["LocalizeConfig", "LocalizeResult", "localize"]
