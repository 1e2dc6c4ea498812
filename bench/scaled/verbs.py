"""Runs the verbs that work on a backlog against the clock, and counts the pages that each touches."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Final, TypeVar

import msgspec
import uvloop

from bench.processes import BenchError
from bench.scaled.pages import Counting, counting
from surehook.clock import Millis, SystemClock
from surehook.config import Settings
from surehook.ids import EventId, MessageId, uuid7
from surehook.model import Claim, MessageClaim, MessageSettlement, NewMessage, Settlement
from surehook.ops.sweep import BATCH as SWEPT
from surehook.states import EventState, MessageState
from surehook.storage import Database, Reader, Storage, arrivals, attempts, reading
from surehook.storage.postgres.floors import MARGIN
from surehook.storage.verbs import Verb
from surehook.wiring.database import open_unmigrated

Result = TypeVar("Result")

CLAIM: Final = "claim 50 events"
CLAIM_NAMED: Final = "claim 50 events by id"
EXTEND: Final = "extend 50 leases"
SETTLE: Final = "settle 50 events, a message each"
CLAIM_MESSAGES: Final = "claim 50 messages"
SETTLE_MESSAGES: Final = "settle 50 messages"
RESCUE: Final = "sweep: rescue, no lease has expired"
DUE: Final = "sweep: due, up to 1,000"
IGNORED: Final = "sweep: ignored in the last hour"
TRIM: Final = "sweep: trim rejections"
COUNTS: Final = "counts of all states"
#: Events or messages of one claim.
FIFTY: Final = 50
HOUR: Final = 3_600_000
SWEEP: Final = 10_000
POISON_AFTER: Final = 3
KEEP: Final = 10_000
BODY: Final = b"m" * 250


class Round(msgspec.Struct, frozen=True):
    """One verified round: the median of each verb in milliseconds, and the pages it touches."""

    milliseconds: Mapping[str, float]
    pages: Mapping[str, int]
    #: Events that were claimed, each once, and all but 50 of them settled; the others still wait, counted afterwards.
    verified: int


class Stopwatch:
    """Times what is awaited, by name."""

    def __init__(self) -> None:
        self.milliseconds: defaultdict[str, list[float]] = defaultdict(list)

    async def time(self, name: str, verb: Awaitable[Result]) -> Result:
        """The verb's result."""
        began = time.perf_counter()
        result = await verb
        self.milliseconds[name].append((time.perf_counter() - began) * 1_000)
        return result

    def medians(self) -> dict[str, float]:
        """Of each name."""
        return {name: statistics.median(values) for name, values in self.milliseconds.items()}


class Worker:
    """Claims and settles as a worker and a publisher do, without running anything in between."""

    def __init__(self, storage: Storage, watch: Stopwatch) -> None:
        self._storage = storage
        self._clock = SystemClock()
        self._seen: set[EventId] = set()
        self.watch = watch

    async def claim(self, only: Sequence[EventId] | None = None) -> list[Claim]:
        """Fifty events. Raises BenchError when one comes a second time, or fewer do."""
        now, name = self._clock.now(), CLAIM if only is None else CLAIM_NAMED
        claiming = self._storage.claim(FIFTY, now, Millis(now + HOUR), only)
        claims = await self.watch.time(name, claiming)
        fresh = {claim.id for claim in claims} - self._seen
        if len(fresh) != FIFTY:
            raise BenchError(f"{len(fresh)} new events were claimed, expected {FIFTY}")
        self._seen |= fresh
        return claims

    async def events(self, only: Sequence[EventId] | None = None) -> None:
        """Claim, prolong and settle."""
        claims = await self.claim(only)
        until = Millis(self._clock.now() + 2 * HOUR)
        lost = await self.watch.time(EXTEND, self._storage.extend(claims, until))
        ends = settlements(claims, self._clock.now())
        if lost or not all(await self.watch.time(SETTLE, self._storage.settle(ends))):
            raise BenchError("a lease was lost though nobody took it")

    async def messages(self) -> None:
        """Claim and settle."""
        now = self._clock.now()
        claims = await self.watch.time(
            CLAIM_MESSAGES, self._storage.claim_messages("sink", FIFTY, now, Millis(now + HOUR))
        )
        ends = message_settlements(claims, self._clock.now())
        settled = await self.watch.time(SETTLE_MESSAGES, self._storage.settle_messages(ends))
        if len(settled) != FIFTY or not all(settled):
            raise BenchError(f"{sum(settled)} messages were claimed and settled, expected {FIFTY}")


def settlements(claims: Sequence[Claim], now: Millis) -> list[Settlement]:
    """All processed, with a message each."""
    return [
        Settlement(claim.id, claim.token, EventState.PROCESSED, now, (_message(now),)) for claim in claims
    ]


def message_settlements(claims: Sequence[MessageClaim], now: Millis) -> list[MessageSettlement]:
    """All sent."""
    return [MessageSettlement(claim.id, claim.token, MessageState.SENT, now) for claim in claims]


def _message(now: Millis) -> NewMessage:
    return NewMessage(MessageId(uuid7(now)), "sink", "payment.recorded", BODY)


def claimed(repeats: int, warm_up: int) -> int:
    """Events that leave the backlog in a round: claimed by due order and by id."""
    return FIFTY * (1 + 2 * (warm_up + repeats))


def measure(url: str, repeats: int, warm_up: int) -> Round:
    """One round. It takes ``claimed(repeats, warm_up)`` events out of the backlog, of which 50 stay in work."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        milliseconds = runner.run(_time(url, repeats, warm_up))
    with counting(url) as count:
        return Round(milliseconds, dict(_pages(count)), claimed(repeats, warm_up))


async def _time(url: str, repeats: int, warm_up: int) -> dict[str, float]:
    database = await open_unmigrated(Settings(database=url))
    try:
        await Worker(database.storage, Stopwatch()).claim()
        await _repeat(database, warm_up)
        return (await _repeat(database, repeats)).medians()
    finally:
        await database.close()


async def _repeat(database: Database, times: int) -> Stopwatch:
    watch = Stopwatch()
    worker = Worker(database.storage, watch)
    for _ in range(times):
        await worker.events()
        await worker.events(await database.reader.due(Millis(SystemClock().now() - SWEEP), FIFTY))
        await worker.messages()
        await _sweep(database.storage, database.reader, watch)
    return watch


async def _sweep(storage: Storage, reader: Reader, watch: Stopwatch) -> None:
    now = SystemClock().now()
    rescued = await watch.time(RESCUE, storage.rescue(now, poison_after=POISON_AFTER))
    if rescued.events or rescued.messages:
        raise BenchError(f"leases have expired that last an hour: {rescued}")
    if not await watch.time(DUE, reader.due(Millis(now - SWEEP), SWEPT)):
        raise BenchError("nothing is due though a backlog waits")
    await watch.time(IGNORED, reader.ignored_since(Millis(now - HOUR), None, SWEPT))
    await watch.time(TRIM, storage.reject([], keep=KEEP))
    await watch.time(COUNTS, reader.counts())


def _pages(count: Counting) -> Iterator[tuple[str, int]]:
    now = SystemClock().now()
    yield from _pages_of_events(count, now)
    old, recent = Millis(now - SWEEP), Millis(now - HOUR)
    sweep: Mapping[str, Verb[object]] = {
        RESCUE: lambda db: attempts.rescue(db, now, POISON_AFTER, SWEPT),
        DUE: lambda db: reading.due(db, old, SWEPT),
        IGNORED: lambda db: reading.ignored_since(db, recent, None, SWEPT),
        TRIM: lambda db: arrivals.reject(db, [], KEEP),
        COUNTS: reading.counts,
    }
    for name, verb in sweep.items():
        yield name, count.measure(verb)[0]


def _pages_of_events(count: Counting, now: Millis) -> Iterator[tuple[str, int]]:
    lease = Millis(now + HOUR)
    # the first claim of all finds where the next ones begin
    _, (_, head) = count.measure(lambda db: attempts.claim_due(db, FIFTY, now, lease, Millis(0)))
    since = Millis(head - MARGIN if head else 0)
    pages, (claims, _) = count.measure(lambda db: attempts.claim_due(db, FIFTY, now, lease, since))
    yield CLAIM, pages
    _, ids = count.measure(lambda db: reading.due(db, now, FIFTY))
    yield CLAIM_NAMED, count.measure(lambda db: attempts.claim_named(db, ids, now, lease))[0]
    yield EXTEND, count.measure(lambda db: attempts.extend(db, claims, lease))[0]
    yield SETTLE, count.measure(lambda db: attempts.settle(db, settlements(claims, now)))[0]
    pages, (messages, _) = count.measure(
        lambda db: attempts.claim_messages(db, "sink", FIFTY, now, lease, since)
    )
    yield CLAIM_MESSAGES, pages
    ends = message_settlements(messages, now)
    yield SETTLE_MESSAGES, count.measure(lambda db: attempts.settle_messages(db, ends))[0]
