"""Requests to AWS IoT, and reconciliation: snapshots, lookups, how they are merged."""
