"""The commands: each is a module with `run`, which returns the exit status."""
