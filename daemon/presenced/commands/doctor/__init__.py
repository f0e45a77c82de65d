"""The `doctor` command: walks the way to the first message, and tells at which step it ends."""
