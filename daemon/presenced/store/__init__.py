"""What outlives the process: presence, registry, totals and sessions, in an SQLite file."""
