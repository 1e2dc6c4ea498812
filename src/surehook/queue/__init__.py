"""The queue seam: which events may be worth claiming now. The database stays the truth.

``tests/contract/test_queue.py`` is its proof and runs unchanged over every queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from surehook.ids import EventId


class Queue(Protocol):
    """Hints for workers and publishers. Losing any of them costs time, never an event: polls and the sweep find it.

    A hint may be wrong as well: ids can come twice, too early, for events that are long done or that never were. Only
    the claim in the database decides. Everything here is called on the event loop.
    """

    async def start(self) -> None:
        """Begin. Never fails because a server is down: the queue keeps trying in the background."""
        ...

    async def close(self) -> None:
        """Tell what is not told yet, if that is possible now, and stop. Waiting calls end, later ones answer None."""
        ...

    def announce(self, ids: Sequence[EventId], *, again: bool = False) -> None:
        """These events became due, and are committed. Never fails and never waits.

        ``again``: nothing has happened to them, they have only been due for long. Where many announcements wait already
        a queue may drop such ids, or with a long backlog every sweep would add the same ones once more.
        """
        ...

    async def next(self, limit: int, wait: float) -> Sequence[EventId] | None:
        """Up to ``limit`` ids that may be worth claiming, or None: ask the database by due order.

        Waits at most ``wait`` seconds for an announcement (0: answers at once), then answers None. Nobody announces a
        retry whose time has come, so the caller asks the database now and then also while ids keep coming. Ids that are
        not claimed after all, or that were on their way when the call was cancelled, stay due: the sweep finds them.
        """
        ...

    def announce_messages(self, destinations: frozenset[str]) -> None:
        """Messages for these destinations (the empty set: for any) are committed. Never fails and never waits.

        Wakes publishers, in this process at once and in others soon.
        """
        ...

    def on_messages(self, callback: Callable[[frozenset[str]], None]) -> None:
        """Call this, on the loop, with what was announced; with the empty set when it may have been for any."""
        ...

    async def depth(self) -> int | None:
        """How many announcements of events wait; None where the queue keeps none, or cannot tell now."""
        ...
