"""The rollouts that importance is measured with: where they are and what they hold."""
