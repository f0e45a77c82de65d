"""The daemon: composed, run, reloaded and stopped."""
