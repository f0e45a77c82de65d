"""`presenced record`: received messages in files that `presenced replay` reads."""
