"""Presence of an AWS IoT Core fleet as Prometheus metrics."""

__version__ = "0.1.0"
