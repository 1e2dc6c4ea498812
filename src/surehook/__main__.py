"""``python -m surehook``."""

from __future__ import annotations

from surehook.cli import main

if __name__ == "__main__":
    main(prog_name="surehook")
