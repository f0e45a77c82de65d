"""Presence and the registry together, and what follows from both. Pure."""

from presenced.fleet.fleet import Changes, Description, Fleet, Partition

__all__ = ["Changes", "Description", "Fleet", "Partition"]
