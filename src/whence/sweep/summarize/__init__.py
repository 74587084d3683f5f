"""`whence sweep summarize`."""

from whence.sweep.summarize.command import SummarizeConfig, SummarizeResult, summarize

__all__ = ["SummarizeConfig", "SummarizeResult", "summarize"]
