"""The `record` command: what arrives, written into files that `replay` reads."""
