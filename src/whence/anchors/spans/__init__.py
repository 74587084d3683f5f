"""Where each sentence lies in its trace: in characters, then in tokens."""
