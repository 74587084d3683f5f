"""`whence sweep gate`."""

from whence.sweep.gate.command import GateConfig, GateResult, gate

__all__ = ["GateConfig", "GateResult", "gate"]
