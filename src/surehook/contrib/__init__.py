"""Bridges to tools of other makers; each needs the extra that is named like it."""
