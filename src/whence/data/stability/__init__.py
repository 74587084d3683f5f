"""Whether a ranking stays when chance is drawn anew: queries, projections, or whole scorings."""

from whence.data.stability.command import StabilityResult, stability
from whence.data.stability.settings import StabilityConfig

__all__ = ["StabilityConfig", "StabilityResult", "stability"]
