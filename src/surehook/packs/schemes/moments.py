"""How senders write the time that they sign: strictly read, so that a signed text means one moment only."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Protocol

from surehook.clock import Millis, isoformat

_SECONDS = re.compile(r"[0-9]{1,12}")
_MILLISECONDS = re.compile(r"[0-9]{1,15}")
#: RFC 3339; what is beyond microseconds is cut off.
_RFC3339 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:[0-9]{2})"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Unit(Protocol):
    """One way to write a time."""

    def read(self, text: str) -> Millis | None:
        """The moment; None for what is not written this way."""
        ...

    def write(self, now: Millis) -> str:
        """The text."""
        ...


class _Seconds:
    def read(self, text: str) -> Millis | None:
        return Millis(int(text) * 1000) if _SECONDS.fullmatch(text) else None

    def write(self, now: Millis) -> str:
        return str(now // 1000)


class _Milliseconds:
    def read(self, text: str) -> Millis | None:
        return Millis(int(text)) if _MILLISECONDS.fullmatch(text) else None

    def write(self, now: Millis) -> str:
        return str(now)


class _Timestamp:
    def read(self, text: str) -> Millis | None:
        found = _RFC3339.fullmatch(text)
        if found is None:
            return None
        zone = "+00:00" if found[3] == "Z" else found[3]
        try:
            at = datetime.fromisoformat(found[1] + (found[2] or "")[:7] + zone)
            return Millis((at - _EPOCH) // timedelta(milliseconds=1))
        except (ValueError, OverflowError):
            return None

    def write(self, now: Millis) -> str:
        return isoformat(now)


#: Unix time in seconds.
SECONDS: Unit = _Seconds()
#: Unix time in milliseconds.
MILLISECONDS: Unit = _Milliseconds()
#: RFC 3339, e.g. ``2026-10-07T05:29:49.000634234Z``.
TIMESTAMP: Unit = _Timestamp()
