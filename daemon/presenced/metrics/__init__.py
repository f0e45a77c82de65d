"""What Prometheus sees: one table of names, a collector for totals, text kept per client."""
