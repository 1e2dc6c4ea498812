"""One destination's lane: claim, send, settle. What happens in it never touches another destination."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from surehook.clock import Clock, Millis
from surehook.errors import Unavailable
from surehook.grouping import GroupCommit
from surehook.ids import MESSAGE_PREFIX, typeid
from surehook.model import MessageClaim, MessageSettlement
from surehook.publish import Outcome, Transport
from surehook.publish.answers import Try, unanswered
from surehook.publish.settling import abandoned, settlement_of
from surehook.retry import RetryPolicy
from surehook.storage import Storage
from surehook.telemetry import context, trace_id_of

logger = logging.getLogger(__name__)

#: Messages between claim and settlement, for each one that may be being sent: so the claim of the next ones need not
#: wait for the commit of the last ones.
_HELD: Final = 2

#: First and longest wait after the database refused a settlement, in seconds.
_FIRST_WAIT: Final = 0.1
_LONGEST_WAIT: Final = 5.0


class Route(msgspec.Struct, frozen=True):
    """A destination as the publisher sees it."""

    name: str
    transport: Transport
    retries: RetryPolicy
    #: Messages that are being sent at once, at most.
    concurrency: int


class Timing(msgspec.Struct, frozen=True):
    """How the publisher keeps time, in milliseconds."""

    lease: int = 60_000
    #: How often the leases of what is being sent or settled are prolonged.
    heartbeat: int = 20_000
    #: How often the database is asked when nothing wakes a lane.
    poll: int = 1_000


@dataclass(frozen=True)
class Office:
    """What all lanes share."""

    storage: Storage
    #: Writes the ends of tries, of all lanes together.
    settlements: GroupCommit[MessageSettlement, bool]
    clock: Clock
    timing: Timing
    #: Names this publisher in failures.
    worker: str


@dataclass(eq=False)
class Flight:
    """A message between its claim and the commit of its end."""

    claim: MessageClaim
    lease_until: Millis


class Lane:
    """Claims up to its free slots, sends, settles."""

    def __init__(self, route: Route, office: Office, wake: Callable[[], None]) -> None:
        """``wake`` asks for another ``run_once``, since a slot has become free."""
        self._route = route
        self._office = office
        self._wake = wake
        self._free = route.concurrency
        self._sending: set[asyncio.Task[list[Outcome]]] = set()
        self._deliveries: set[asyncio.Task[None]] = set()
        #: What is being sent or settled.
        self.flights: set[Flight] = set()

    async def run_once(self) -> None:
        """Claim and begin to send until there is nothing due or no free slot."""
        while (room := self._room()) > 0:
            now = self._office.clock.now()
            lease_until = Millis(now + self._office.timing.lease)
            claims = await self._office.storage.claim_messages(self._route.name, room, now, lease_until)
            self._launch([Flight(claim, lease_until) for claim in claims])
            if len(claims) < room:
                return

    async def drain(self, deadline: float, grace: float) -> None:
        """Wait until ``deadline`` (of the loop) for what is being sent, then break it off and give it back uncounted.

        ``grace`` seconds more are for the last commits; what is still not settled then, the end of its lease gives back.
        """
        if self._sending:
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait(self._sending, timeout=max(0.0, left))
        for sending in self._sending:
            sending.cancel()
        if not self._deliveries:
            return
        _, late = await asyncio.wait(self._deliveries, timeout=grace)
        for delivery in late:
            delivery.cancel()
        if late:
            await asyncio.wait(late)

    def _room(self) -> int:
        return min(self._free, _HELD * self._route.concurrency - len(self.flights))

    def _launch(self, flights: Sequence[Flight]) -> None:
        self._free -= len(flights)
        self.flights.update(flights)
        size = self._route.transport.batch
        for start in range(0, len(flights), size):
            delivery = asyncio.create_task(self._deliver(flights[start : start + size]))
            self._deliveries.add(delivery)
            delivery.add_done_callback(self._deliveries.discard)

    async def _deliver(self, flights: Sequence[Flight]) -> None:
        try:
            outcomes = await self._send([flight.claim for flight in flights])
            ends = await asyncio.gather(*map(self._end, flights, outcomes), return_exceptions=True)
            for error in filter(None, ends):
                logger.error("a delivery could not be settled: its lease will end", exc_info=error)
        finally:
            for flight in flights:
                self.flights.discard(flight)
            self._wake()

    async def _send(self, claims: Sequence[MessageClaim]) -> Sequence[Outcome | None]:
        """The outcome of each message, None where it was broken off."""
        started = self._office.clock.now()
        sending = asyncio.create_task(self._route.transport.send(claims))
        self._sending.add(sending)
        try:
            await asyncio.wait([sending])
        finally:
            self._sending.discard(sending)
            self._free += len(claims)
            self._wake()
        if sending.cancelled():
            return [None] * len(claims)
        error = sending.exception() or _miscount(sending.result(), claims)
        if error is None:
            return sending.result()
        logger.error("the transport of %s broke its contract", self._route.name, exc_info=error)
        broken = unanswered(error, Try(self._route.name, started, self._office.clock.now()))
        return [broken] * len(claims)

    async def _end(self, flight: Flight, outcome: Outcome | None) -> None:
        claim, now = flight.claim, self._office.clock.now()
        settlement = (
            abandoned(claim, now)
            if outcome is None
            else settlement_of(claim, outcome, self._route.retries, now, self._office.worker)
        )
        with context(
            message_id=typeid(MESSAGE_PREFIX, claim.id),
            destination=claim.destination,
            type=claim.type,
            attempt=claim.attempt,
            trace_id=trace_id_of(claim.traceparent),
        ):
            _log_end(claim, settlement)
            if not await self._settle(flight, settlement):
                logger.warning(
                    "the lease was lost, nothing was written: the message may be sent again, under the same id",
                    extra={"event": "publisher.lease_lost"},
                )

    async def _settle(self, flight: Flight, settlement: MessageSettlement) -> bool:
        """Settle, again and again while the database cannot: the message is sent, only its end is missing."""
        wait = _FIRST_WAIT
        while True:
            try:
                return await self._office.settlements.put(settlement)
            except Unavailable as error:
                if self._office.clock.now() >= flight.lease_until:
                    return False
                logger.warning("not settled yet: %s", error, extra={"event": "publisher.unsettled"})
            await asyncio.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)


def _miscount(outcomes: Sequence[Outcome], claims: Sequence[MessageClaim]) -> RuntimeError | None:
    if len(outcomes) == len(claims):
        return None
    return RuntimeError(f"{len(outcomes)} outcomes for {len(claims)} messages")


def _log_end(claim: MessageClaim, settlement: MessageSettlement) -> None:
    event = f"publisher.{settlement.state.lower()}"
    failure = settlement.failure
    if failure is None:
        logger.debug("%s: %s", claim.destination, settlement.state.lower(), extra={"event": event})
        return
    logger.warning(
        "delivery to %s failed, attempt %d: %s: %s",
        claim.destination,
        claim.attempt,
        failure.error_type,
        failure.message,
        extra={"event": event, "due_at": settlement.due_at, "reason": settlement.reason},
    )
