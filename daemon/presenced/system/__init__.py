"""The process and its surroundings: logs, the journal, the service manager, the event loop."""
