"""Start, tick, jitter, stop: the one loop that every background duty runs in."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

logger = logging.getLogger(__name__)

#: Each wait is spread over 0.9 .. 1.1 times the interval, so that processes started together do not tick together.
JITTER: Final = 0.1

#: How long ``stop`` waits for runs in progress before it cancels them, in milliseconds.
PATIENCE: Final = 5_000


@dataclass(frozen=True)
class Duty:
    """Something to be done again and again. Tests call ``run_once`` and wait for no tick."""

    name: str
    run_once: Callable[[], Awaitable[object]]
    #: Milliseconds from the end of one run to the begin of the next.
    interval_ms: int


class Service:
    """Runs duties, each in a loop of its own: at once, then after every interval or when woken.

    A run that raises is logged and the loop goes on; a duty never overlaps itself.
    """

    def __init__(self, duties: Sequence[Duty]) -> None:
        self._duties = {duty.name: duty for duty in duties}
        self._wakes = {name: asyncio.Event() for name in self._duties}
        self._loops: list[asyncio.Task[None]] = []
        self._stopping = False

    def start(self) -> None:
        """Begin; needs a running loop. Once only."""
        if self._loops or self._stopping:
            raise RuntimeError("a Service is started once")
        self._loops = [
            asyncio.create_task(self._repeat(duty), name=f"surehook-{name}")
            for name, duty in self._duties.items()
        ]

    def wake(self, name: str | None = None) -> None:
        """Run the duty of this name (None: all of them) now; if it is running, once more right after.

        Raises KeyError for a name that is none of its duties'.
        """
        for wake in self._wakes.values() if name is None else [self._wakes[name]]:
            wake.set()

    async def stop(self, patience_ms: int = PATIENCE) -> None:
        """Begin no run any more and wait for those in progress, then cancel them. May be called more than once."""
        self._stopping = True
        self.wake()
        if not self._loops:
            return
        _, late = await asyncio.wait(self._loops, timeout=patience_ms / 1000)
        for loop in late:
            logger.warning("%s did not stop in time and is cancelled", loop.get_name())
            loop.cancel()
        if late:
            await asyncio.wait(late)

    async def _repeat(self, duty: Duty) -> None:
        wake = self._wakes[duty.name]
        while not self._stopping:
            wake.clear()
            try:
                await duty.run_once()
            except Exception:
                logger.exception("%s failed; it runs again", duty.name, extra={"duty": duty.name})
            if not self._stopping:
                await pause(wake, duty.interval_ms * random.uniform(1 - JITTER, 1 + JITTER))


async def pause(wake: asyncio.Event, milliseconds: float) -> None:
    """Wait so long, or until woken."""
    try:
        async with asyncio.timeout(milliseconds / 1000):
            await wake.wait()
    except TimeoutError:
        pass
