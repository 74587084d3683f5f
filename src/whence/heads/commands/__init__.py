"""The commands of `whence heads` that need no configuration file."""
