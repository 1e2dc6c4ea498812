"""Keeping one slot filled: a process that ends is started again, later and later while it ends soon."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from surehook.service import pause
from surehook.wiring.supervision.child import Child

logger = logging.getLogger(__name__)

#: Seconds before the first new start, and the most that the doubling of it comes to: a start costs half a second of CPU, and
#: what keeps all processes from starting, such as a database that is down, should not be felt much longer than it lasts.
FIRST: Final = 0.1
LAST: Final = 5.0
#: A process that ran so many seconds was well: the next wait is the first again.
WELL: Final = 60.0
#: The exit code of a process whose configuration cannot work.
REFUSED: Final = 2
#: Seconds within which a replacement must be ready.
REPLACEMENT: Final = 120.0


class Backoff:
    """How long to wait before the next start."""

    def __init__(self) -> None:
        self._next = FIRST

    def after(self, ran: float) -> float:
        """Seconds to wait after a process that ran for ``ran`` seconds."""
        delay = FIRST if ran >= WELL else self._next
        self._next = min(2 * delay, LAST)
        return delay


class Keeper:
    """One slot, kept filled until ``stopping`` is set.

    ``start`` makes a process; ``refused`` is told the exit code of one that says that no start can succeed.
    """

    def __init__(
        self,
        number: int,
        start: Callable[[int], Child],
        refused: Callable[[int], None],
        stopping: asyncio.Event,
    ) -> None:
        self._number = number
        self._start = start
        self._refused = refused
        self._stopping = stopping
        self._backoff = Backoff()
        #: The process that counts; while one is replaced there are two.
        self._child: Child | None = None
        self._was_ready = False

    @property
    def is_ready(self) -> bool:
        """Whether a process that does its work fills the slot."""
        return self._child is not None and self._child.is_ready

    async def run(self) -> None:
        """Fill the slot again and again."""
        while not self._stopping.is_set():
            if self._child is None:
                self._child = self._try_to_start()
            child = self._child
            if child is not None:
                await child.ended.wait()
            if child is self._child and not self._stopping.is_set():
                self._child = None
                await self._after(child)

    async def replace(self, patience: float) -> bool:
        """Start another process, and end the present one when that is ready; whether it became ready.

        ``patience``: seconds that the end of a process may take.
        """
        other = self._try_to_start()
        if other is None:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(REPLACEMENT):
                await other.settled.wait()
        if not other.is_ready:
            await other.end(patience)
            return False
        present, self._child = self._child, other
        if present is not None:
            await present.end(patience)
        return True

    def _try_to_start(self) -> Child | None:
        try:
            return self._start(self._number)
        except OSError as error:
            extra = {"event": "supervisor.unable", "slot": self._number}
            logger.error("process %d cannot be started: %s", self._number, error, extra=extra)
            return None

    async def _after(self, child: Child | None) -> None:
        """Wait before the next start, or give up when there is no use in one."""
        if child is not None:
            self._was_ready |= child.was_ready
            if child.code == REFUSED and not self._was_ready:
                self._refused(REFUSED)
                return
        delay = self._backoff.after(child.age if child is not None else 0)
        if child is not None:
            text = "process %d has ended (%s); it is started again in %.1f s"
            extra = {"event": "supervisor.ended", **child.fields}
            logger.error(text, self._number, child.reason, delay, extra=extra)
        await pause(self._stopping, delay * 1000)
