"""The command line."""

from __future__ import annotations

from surehook.cli.root import main

__all__ = ["main"]
