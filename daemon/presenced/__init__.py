"""Presence of an AWS IoT Core fleet as Prometheus metrics."""

__version__ = "1.0.0"
