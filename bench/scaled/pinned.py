"""What an old open transaction does to claims on PostgreSQL: while it is open, no entry of a claimed event can be removed.

The same backlog is worked off twice, in turns: with such a transaction and without. The first claims of each are compared
with its last ones; every few seconds a claim searches from the beginning, and steps over all that was claimed since.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

import msgspec
import psycopg
import uvloop

from bench.looking import looking
from bench.rounds import take_turns
from bench.scaled.ground import Ground
from bench.scaled.pages import counting
from bench.scaled.places import OnServer
from bench.scaled.rows import Rows
from bench.scaled.verbs import CLAIM, FIFTY, HOUR, SETTLE, Stopwatch, Worker, settlements
from surehook.clock import Millis, SystemClock
from surehook.config import Settings
from surehook.storage import attempts
from surehook.storage.postgres.floors import MARGIN
from surehook.wiring.database import open_unmigrated

PINNED: Final = "a transaction open since before"
FREE: Final = "none open"


class Sizes(msgspec.Struct, frozen=True):
    """How many events are claimed, of how many, and how often it is done."""

    waiting: int
    claimed: int
    rounds: int


NORMAL = Sizes(waiting=100_000, claimed=20_000, rounds=3)
FULL = Sizes(waiting=1_000_000, claimed=120_000, rounds=3)
QUICK = Sizes(waiting=1_500, claimed=1_000, rounds=1)


class Stretch(msgspec.Struct, frozen=True):
    """Some claims in a row, each settled: medians in milliseconds, and the slowest claim. Pages at their end."""

    claim_ms: float
    slowest_ms: float
    settle_ms: float
    claim_pages: int
    #: Of the claim that searches from the beginning, as one does every few seconds.
    search_pages: int
    settle_pages: int


class Worked(msgspec.Struct, frozen=True):
    """One run: the first tenth of the claims, and the last one."""

    first: Stretch
    last: Stretch
    #: Events that were processed, by the database's count.
    verified: int


class Pinning(msgspec.Struct, frozen=True):
    """Both variants. ``rounds`` holds a run of each, in their order."""

    waiting: int
    claimed: int
    variants: tuple[str, ...]
    rounds: tuple[tuple[Worked, ...], ...]


class PinnedSuite:
    """Each run has a database of its own, copied from the same rows."""

    def __init__(self, ground: Ground, sizes: Sizes, say: Callable[[str], None]) -> None:
        self._place = OnServer(ground)
        self._sizes = sizes
        self._say = say

    def everything(self) -> Pinning:
        """With an old transaction and without, in turns."""
        source = self._place.new("pinned")
        Rows(source, SystemClock().now(), self._sizes.waiting).wait(self._sizes.waiting)
        self._place.rest(source)
        turns = {name: partial(self._run, source, name) for name in (PINNED, FREE)}
        rounds = take_turns(self._sizes.rounds, turns)
        self._place.drop(source)
        sizes = self._sizes
        return Pinning(
            sizes.waiting, sizes.claimed, tuple(turns), tuple(tuple(done.values()) for done in rounds)
        )

    def _run(self, source: str, name: str, number: int) -> Worked:
        url = self._place.copy("pinned_copy", source)
        with (
            _old_transaction(url, wanted=name == PINNED),
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            done = runner.run(_work(url, self._sizes.claimed // FIFTY))
        with looking(url) as look:
            look.expect(
                {
                    "SELECT count(*) FROM inbox_events WHERE state = 'PROCESSED'": self._sizes.claimed,
                    "SELECT count(*) FROM outbox_messages": self._sizes.waiting + self._sizes.claimed,
                }
            )
        self._place.drop(url)
        self._say(
            f"old transaction, round {number + 1}: {name}: claim {done.first.claim_ms:.2f} ms at first,"
            f" {done.last.claim_ms:.2f} ms in the end, {self._sizes.claimed} verified"
        )
        return done


@contextmanager
def _old_transaction(url: str, *, wanted: bool) -> Iterator[None]:
    """A snapshot that is held, as a forgotten BEGIN or a long report holds one."""
    if not wanted:
        yield
        return
    with psycopg.connect(url, application_name="bench old") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("SELECT 1 FROM inbox_events LIMIT 1")
        yield
        connection.rollback()


async def _work(url: str, claims: int) -> Worked:
    """Work off so many claims, and look at the first and the last tenth of them."""
    database = await open_unmigrated(Settings(database=url))
    try:
        worker, tenth = Worker(database.storage, Stopwatch()), claims // 10
        first = await _stretch(worker, url, tenth)
        for _ in range(claims - 2 * tenth):
            await worker.events()
        return Worked(first, await _stretch(worker, url, tenth), claims * FIFTY)
    finally:
        await database.close()


async def _stretch(worker: Worker, url: str, claims: int) -> Stretch:
    watch = worker.watch = Stopwatch()
    for _ in range(claims):
        await worker.events()
    times = watch.milliseconds
    return Stretch(
        statistics.median(times[CLAIM]),
        max(times[CLAIM]),
        statistics.median(times[SETTLE]),
        *pages_of(url),
    )


def pages_of(url: str) -> tuple[int, int, int]:
    """Of a claim that begins where one before it has found something, of one that searches all, of a settlement."""
    now = SystemClock().now()
    lease = Millis(now + HOUR)
    with counting(url) as count:
        search, (_, head) = count.measure(lambda db: attempts.claim_due(db, FIFTY, now, lease, Millis(0)))
        since = Millis((head or MARGIN) - MARGIN)
        claim, (claims, _) = count.measure(lambda db: attempts.claim_due(db, FIFTY, now, lease, since))
        settle, _ = count.measure(lambda db: attempts.settle(db, settlements(claims, now)))
    return claim, search, settle
