"""Do words alone tell the top of a ranking from the rest? A text encoder tries."""

from whence.data.classify.command import ClassifyConfig, ClassifyResult, classify

__all__ = ["ClassifyConfig", "ClassifyResult", "classify"]
