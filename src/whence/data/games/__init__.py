"""Synthetic taboo games: a describer and guessers play, and their games become rows."""
