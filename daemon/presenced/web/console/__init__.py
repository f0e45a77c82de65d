"""The console: the page at `/` for people, without anything from elsewhere."""
