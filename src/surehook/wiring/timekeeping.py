"""The database's clock as a process reckons it, measured again and again."""

from __future__ import annotations

import logging
from typing import Final, Protocol

from surehook.clock import Clock, Millis

logger = logging.getLogger(__name__)

#: How often the database's clock is read to find the reading with the least delay.
READINGS: Final = 4
#: A reading that took longer says too little: it may be wrong by half of its delay. Milliseconds.
SLOWEST: Final = 1_000
#: A change by more than this many milliseconds is told, and needs readings that agree.
JUMP: Final = 1_000
#: So long after a jump, in milliseconds, other processes may still reckon by the time before it.
SETTLING: Final = 60_000


class TimeReader(Protocol):
    """Where the database's clock is read."""

    async def database_time(self) -> Millis:
        """The database's clock."""
        ...


class DatabaseClock:
    """A time source and its distance to the database's clock.

    All processes of an installation judge leases by this time, so it moves only for what was measured: a distance within
    the delay of its reading is none, and a jump is believed only when all quick readings but one tell the same.
    """

    def __init__(self, source: Clock) -> None:
        self._source = source
        self._measured = False
        self._jumped_at: Millis | None = None
        #: Milliseconds by which the database's clock is ahead of the source.
        self.offset = 0

    def now(self) -> Millis:
        """Clock.now."""
        return Millis(self._source.now() + self.offset)

    @property
    def settled(self) -> bool:
        """False for a minute after a jump: leases that others hold were set by the time before it, so end none of them."""
        return self._jumped_at is None or self._source.now() - self._jumped_at >= SETTLING

    async def measure(self, reader: TimeReader) -> None:
        """Read the database's clock a few times, and move by what the best reading tells, as NTP does (RFC 5905, section 8).

        The first measurement takes the best reading there is, later ones only quick ones. Raises what the reader raises.
        """
        readings = sorted([await self._read(reader) for _ in range(READINGS)])
        # a source that was set back meanwhile shows as a delay below nothing
        possible = [(delay, offset) for delay, offset in readings if delay >= 0]
        quick = [(delay, offset) for delay, offset in possible if delay <= SLOWEST]
        trusted = quick if self._measured else possible
        if not trusted:
            logger.warning(
                "the database's clock was not measured: every reading took more than %d ms; is it overloaded?",
                SLOWEST,
                extra={"event": "clock.unmeasured"},
            )
            return
        delay, offset = trusted[0]
        # both clocks tell whole milliseconds
        if abs(offset - self.offset) > delay + 1 and self._is_believed(offset, quick):
            self._move(offset)
        self._measured = True

    async def _read(self, reader: TimeReader) -> tuple[int, int]:
        """The delay of a reading, and the distance it tells."""
        before = self._source.now()
        there = await reader.database_time()
        after = self._source.now()
        return after - before, there - (before + after) // 2

    def _is_believed(self, offset: int, quick: list[tuple[int, int]]) -> bool:
        if not self._measured or abs(offset - self.offset) <= JUMP:
            return True
        agreeing = [each for _, each in quick if abs(each - offset) <= JUMP]
        believed = len(agreeing) >= READINGS - 1
        if not believed:
            logger.warning(
                "readings of the database's clock disagree by more than %d ms: the time is kept as it was",
                JUMP,
                extra={"event": "clock.disagreement"},
            )
        return believed

    def _move(self, offset: int) -> None:
        if self._measured and abs(offset - self.offset) > JUMP:
            self._jumped_at = self._source.now()
            logger.warning(
                "the database's clock and this machine's have moved apart by %d ms: Surehook follows the database's. "
                "Keep both on time with NTP",
                offset - self.offset,
                extra={"event": "clock.jumped"},
            )
        self.offset = offset
