"""Time as a value: milliseconds since the epoch, UTC. The only place that reads a clock."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Final, NewType, Protocol

# the one that also counts while the machine is suspended
if sys.platform == "linux":
    _STEADY: Final = time.CLOCK_BOOTTIME
else:
    _STEADY: Final = time.CLOCK_MONOTONIC

#: Milliseconds since 1970-01-01T00:00:00Z.
Millis = NewType("Millis", int)


class Clock(Protocol):
    """Where code that needs the time gets it from."""

    def now(self) -> Millis:
        """The present moment, by the database's clock."""
        ...


class SystemClock:
    """This machine's clock, corrected by the measured distance to the database's."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    def now(self) -> Millis:
        return Millis(time.time_ns() // 1_000_000 + self.offset)


class SteadyClock:
    """This machine's time at the start and what has passed since; setting the machine's clock changes nothing of it."""

    def __init__(self) -> None:
        self._start = time.time_ns() - time.clock_gettime_ns(_STEADY)

    def now(self) -> Millis:
        return Millis((self._start + time.clock_gettime_ns(_STEADY)) // 1_000_000)


class ManualClock:
    """A clock that moves only when told to, so that tests never wait."""

    def __init__(self, start: int = 1_790_000_000_000) -> None:
        self._now = start

    def now(self) -> Millis:
        return Millis(self._now)

    def advance(self, milliseconds: int) -> None:
        """Move forward (or back, when negative) by so many milliseconds."""
        self._now += milliseconds


def isoformat(at: int) -> str:
    """RFC 3339 text of a moment, with milliseconds, in UTC."""
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
