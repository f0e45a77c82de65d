"""AWS IoT Core event messages as typed events. Imports nothing else of presenced."""
