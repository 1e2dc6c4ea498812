"""One destination's lane: claim, send, settle. What happens in it never touches another destination."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from surehook.clock import Clock, Millis
from surehook.model import MessageClaim, MessageSettlement
from surehook.publish import Outcome, Transport
from surehook.publish.answers import Try, unanswered
from surehook.publish.ends import Ends, Flight, describing, log_lost
from surehook.publish.pace import Pace
from surehook.publish.settling import abandoned, settlement_of
from surehook.retry import RetryPolicy
from surehook.storage import Storage

logger = logging.getLogger(__name__)

#: Messages that are claimed before there is a slot for them, at most, and their bytes, by the largest of the last claim. No
#: more than the destination took just now (see Pace), so that they hardly wait, and none for one that hangs.
AHEAD: Final = 256
AHEAD_BYTES: Final = 4 * 1024 * 1024

#: Messages between claim and settlement, for each one that may be in hand or being sent: so the claim of the next ones need
#: not wait for the commit of the last ones.
_HELD: Final = 2


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
    #: How often the leases of what is held are prolonged.
    heartbeat: int = 20_000
    #: How often the database is asked when nothing wakes a lane.
    poll: int = 1_000


@dataclass(frozen=True)
class Office:
    """What all lanes share."""

    storage: Storage
    #: Writes the ends of tries, of all lanes together.
    ends: Ends
    clock: Clock
    timing: Timing
    #: Names this publisher in failures.
    worker: str


class Lane:
    """Claims ahead of its slots, sends, settles.

    Who sends is a task that goes on with the next message in hand, so in a backlog there are as many tasks as slots, and a
    commit for many messages.
    """

    def __init__(self, route: Route, office: Office, wake: Callable[[], None]) -> None:
        """``wake`` asks for another ``run_once``, since there is room for more."""
        self._route = route
        self._office = office
        self._wake = wake
        self._free = route.concurrency
        self._in_hand: deque[Flight] = deque()
        self._senders: set[asyncio.Task[None]] = set()
        self._pace = Pace()
        #: The most bytes that a body of the last claim had.
        self._largest = 1
        #: There may be more that is due.
        self._more = False
        #: A claim goes on, or was asked for.
        self._claiming = False
        self._draining = False
        #: All that is claimed and whose end is not written: in hand, being sent, being settled.
        self.flights: set[Flight] = set()
        self._settled = asyncio.Event()

    async def run_once(self) -> None:
        """Claim and begin to send until there is nothing due or no room."""
        self._claiming = True
        try:
            await self._claim()
        finally:
            self._claiming = False

    async def _claim(self) -> None:
        self._more = True  # as far as anybody knows, if there is no room to look
        while (room := self._room(self._office.clock.now())) > 0:
            # what has ended is written in the commit of this claim
            self._office.ends.flush()
            now = self._office.clock.now()
            lease_until = Millis(now + self._office.timing.lease)
            claims = await self._office.storage.claim_messages(self._route.name, room, now, lease_until)
            self._more = len(claims) == room
            self._pace.claimed(self._office.clock.now() - now)
            self._take([Flight(claim, lease_until) for claim in claims])
            if not self._more:
                return

    async def drain(self, deadline: float, grace: float) -> None:
        """Wait until ``deadline`` (of the loop) for what is being sent, then break it off and give it back uncounted.

        ``grace`` seconds more are for the last commits; what is still not settled then, the end of its lease gives back.
        """
        loop = asyncio.get_running_loop()
        self._draining = True
        self._give_back(self._in_hand)
        self._in_hand.clear()
        self._office.ends.flush()
        await self._senders_end(deadline)
        for sender in self._senders:
            sender.cancel()
        late = loop.time() + grace
        await self._senders_end(late)
        if not self._senders:
            self._give_back([flight for flight in self.flights if not flight.ended])
        self._office.ends.flush()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(late):
                await self._all_settled()

    async def _senders_end(self, deadline: float) -> None:
        if self._senders:
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait(self._senders, timeout=max(0.0, left))

    async def _all_settled(self) -> None:
        while self.flights:
            self._settled.clear()
            await self._settled.wait()

    def _room(self, now: Millis) -> int:
        """How many to claim now; none as long as there is enough in hand for the present pace."""
        ahead = min(self._pace.recent(now), AHEAD, AHEAD_BYTES // self._largest)
        waiting = len(self._in_hand)
        if waiting > ahead // 2:
            return 0
        held = _HELD * (self._route.concurrency + ahead)
        return min(self._free + ahead - waiting, held - len(self.flights))

    def _take(self, flights: Sequence[Flight]) -> None:
        self._largest = max((len(flight.claim.body) for flight in flights), default=1) or 1
        self.flights.update(flights)
        self._in_hand.extend(flights)
        now = self._office.clock.now()
        while first := self._next(now):
            sender = asyncio.create_task(self._send_on(first))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)

    def _next(self, now: Millis) -> list[Flight]:
        """What a sender is to send now, if there is a message and a slot for it; the slot is taken."""
        size = min(self._route.transport.batch, self._free)
        flights: list[Flight] = []
        while self._in_hand and len(flights) < size:
            flight = self._in_hand.popleft()
            if flight.lease_until > now:
                flights.append(flight)
            else:
                self._lose(flight)
        self._free -= len(flights)
        return flights

    async def _send_on(self, flights: list[Flight]) -> None:
        """Send what is in hand until there is no more."""
        now = self._office.clock.now()
        while flights:
            outcomes = await self._send([flight.claim for flight in flights], now)
            now = self._office.clock.now()
            self._free += len(flights)
            following = self._next(now)
            self._end(flights, outcomes, now)
            flights = following

    async def _send(self, claims: Sequence[MessageClaim], started: Millis) -> Sequence[Outcome | None]:
        """The outcome of each message, None where it was broken off."""
        error: Exception | None
        try:
            outcomes = await self._route.transport.send(claims)
            error = _miscount(outcomes, claims)
        except asyncio.CancelledError:
            if not self._draining and _is_cancelled():  # the loop is being torn down
                raise
            return [None] * len(claims)
        except Exception as raised:  # noqa: BLE001 - whatever it is, it never ends the lane
            error = raised
        if error is None:
            return outcomes
        logger.error("the transport of %s broke its contract", self._route.name, exc_info=error)
        broken = unanswered(error, Try(self._route.name, started, self._office.clock.now()))
        return [broken] * len(claims)

    def _end(self, flights: Sequence[Flight], outcomes: Sequence[Outcome | None], now: Millis) -> None:
        self._pace.note(len(flights), now)
        for flight, outcome in zip(flights, outcomes, strict=True):
            try:
                self._put(flight, outcome, now)
            except Exception:
                logger.exception("a delivery could not be settled: its lease will end")
                self._written(flight)
        if self._free == self._route.concurrency:  # nobody comes whose end could share the commit
            self._office.ends.flush()
        self._ask_for_more(now)

    def _ask_for_more(self, now: Millis) -> None:
        if self._more and not self._claiming and not self._draining and self._room(now) > 0:
            self._claiming = True
            self._wake()

    def _give_back(self, flights: Sequence[Flight] | deque[Flight]) -> None:
        now = self._office.clock.now()
        for flight in flights:
            self._put(flight, None, now)

    def _put(self, flight: Flight, outcome: Outcome | None, now: Millis) -> None:
        claim = flight.claim
        settlement = (
            abandoned(claim, now)
            if outcome is None
            else settlement_of(claim, outcome, self._route.retries, now, self._office.worker)
        )
        flight.ended = True
        _log_end(claim, settlement)
        self._office.ends.put(flight, settlement, self._written)

    def _lose(self, flight: Flight) -> None:
        """Somebody else may have it: it is not sent, and there is nothing to be written."""
        flight.ended = True
        with describing(flight.claim):
            log_lost()
        self._written(flight)

    def _written(self, flight: Flight) -> None:
        self.flights.discard(flight)
        self._settled.set()
        if self._free == self._route.concurrency:  # no sender asks
            self._ask_for_more(self._office.clock.now())


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _miscount(outcomes: Sequence[Outcome], claims: Sequence[MessageClaim]) -> RuntimeError | None:
    if len(outcomes) == len(claims):
        return None
    return RuntimeError(f"{len(outcomes)} outcomes for {len(claims)} messages")


def _log_end(claim: MessageClaim, settlement: MessageSettlement) -> None:
    failure = settlement.failure
    if failure is None and not logger.isEnabledFor(logging.DEBUG):
        return
    event = f"publisher.{settlement.state.lower()}"
    with describing(claim):
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
