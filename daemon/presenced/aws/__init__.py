"""Requests to AWS IoT: credentials, signatures, budgets, errors with remedies, typed answers."""
