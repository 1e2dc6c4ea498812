"""Measures Surehook beside its floors: the same machine, the same minute, taking turns. See README.md."""
