"""Which sentences a probe may label alone, and which are left to rollouts."""
