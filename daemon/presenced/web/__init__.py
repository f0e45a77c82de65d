"""The listener: metrics, health and a page for people."""
