"""Measures Surehook as it runs: at a given rate, in all its roles at once, and over time. See ../README.md."""
