"""How good a probe is, on problems that it has not seen, and against which baseline."""
