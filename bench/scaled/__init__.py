"""Measures the scaled profile: PostgreSQL, Redis and several processes. See ../README.md."""
