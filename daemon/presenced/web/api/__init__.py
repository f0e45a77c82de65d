"""What the listener answers below /api/v1/: clients, their stories, and transitions, as JSON."""
