"""Writes down how tries ended, many in one commit, and insists while the database cannot."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

from surehook.clock import Clock, Millis
from surehook.errors import Unavailable
from surehook.grouping import GroupCommit
from surehook.ids import MESSAGE_PREFIX, typeid
from surehook.model import MessageClaim, MessageSettlement
from surehook.storage import Storage
from surehook.telemetry import described, trace_id_of

logger = logging.getLogger(__name__)

#: Ends that are written at once, and how long the first of fewer waits for others, in seconds. Each commit costs as much
#: as some deliveries do, and nobody waits for it: the slot is free already.
BATCH: Final = 128
LINGER: Final = 0.01

#: First and longest wait after the database refused a settlement, in seconds.
_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0


@dataclass(eq=False)
class Flight:
    """A message between its claim and the commit of its end."""

    claim: MessageClaim
    #: Until when it is ours; in the past once somebody else may have it.
    lease_until: Millis
    ended: bool = False


class _End(NamedTuple):
    flight: Flight
    settlement: MessageSettlement
    #: What is called when it is written or given up.
    done: Callable[[Flight], None]


class Ends:
    """Of all lanes together."""

    def __init__(self, storage: Storage, clock: Clock) -> None:
        self._commits: GroupCommit[MessageSettlement, bool] = GroupCommit(storage.settle_messages)
        self._clock = clock
        self._waiting: list[_End] = []
        self._timer: asyncio.TimerHandle | None = None
        self._insisting: set[asyncio.Task[None]] = set()

    def put(self, flight: Flight, settlement: MessageSettlement, done: Callable[[Flight], None]) -> None:
        """Write this end soon, together with others; ``done`` is called when it is written or its lease is lost."""
        self._waiting.append(_End(flight, settlement, done))
        if len(self._waiting) >= BATCH:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER, self.flush)

    def flush(self) -> None:
        """Write what waits now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        for end in waiting:
            self._write(end, _FIRST_WAIT)

    def close(self) -> None:
        """Stop insisting: the end of their leases gives back what is not written yet."""
        for task in self._insisting:
            task.cancel()

    def _write(self, end: _End, wait: float) -> None:
        self._commits.submit(end.settlement, partial(self._answered, end, wait))

    def _answered(self, end: _End, wait: float, outcome: bool | Exception) -> None:
        if outcome is True:
            end.done(end.flight)
            return
        with describing(end.flight.claim):
            again = self._fail(end, outcome)
        if again:
            task = asyncio.create_task(self._insist(end, wait))
            self._insisting.add(task)
            task.add_done_callback(self._insisting.discard)
        else:
            end.done(end.flight)

    def _fail(self, end: _End, outcome: bool | Exception) -> bool:
        """Say why it was not written; whether to try again: the message is sent, only its end is missing."""
        if not isinstance(outcome, Exception):
            log_lost()
        elif not isinstance(outcome, Unavailable):
            logger.error("a delivery could not be settled: its lease will end", exc_info=outcome)
        elif self._clock.now() >= end.flight.lease_until:
            log_lost()
        else:
            logger.warning("not settled yet: %s", outcome, extra={"event": "publisher.unsettled"})
            return True
        return False

    async def _insist(self, end: _End, wait: float) -> None:
        await asyncio.sleep(wait)
        self._write(end, min(2 * wait, _LONGEST_WAIT))


def log_lost() -> None:
    """The line about a message that somebody else may have by now."""
    logger.warning(
        "the lease was lost, nothing was written: the message may be sent again, under the same id",
        extra={"event": "publisher.lease_lost"},
    )


class describing(described):  # noqa: N801 - used like a function: with describing(...)
    """Every line inside names the message."""

    __slots__ = ()

    def __init__(self, claim: MessageClaim) -> None:
        super().__init__(
            lambda: {
                "message_id": typeid(MESSAGE_PREFIX, claim.id),
                "destination": claim.destination,
                "type": claim.type,
                "attempt": claim.attempt,
                "trace_id": trace_id_of(claim.traceparent),
            }
        )
