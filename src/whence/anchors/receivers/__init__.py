"""Receiver heads: attention heads in which later sentences look back at few single sentences."""

from whence.anchors.receivers.command import ReceiversConfig, receivers

__all__ = ["ReceiversConfig", "receivers"]
