"""What many events leave behind in PostgreSQL, with autovacuum as it is by default: the cost of a claim, the size of tables.

Some events are worked off, everything is vacuumed, and that is the band; then come all the others, and nobody vacuums but
PostgreSQL itself. The verbs of Surehook's storage do the work, without handlers or HTTP in between.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable
from typing import Final

import msgspec
import uvloop

from bench.looking import Look, looking
from bench.processes import BenchError
from bench.report import Column, Variant
from bench.running.report import Sample, Series, Target
from bench.running.stores import ServerStore
from bench.scaled.pinned import pages_of
from bench.scaled.places import Place
from bench.scaled.rows import Rows
from bench.scaled.verbs import CLAIM, CLAIM_MESSAGES, FIFTY, SETTLE, Stopwatch, Worker
from surehook.clock import SystemClock
from surehook.config import Settings
from surehook.wiring.database import open_unmigrated

TABLES: Final = ("inbox_events", "outbox_messages")
BEFORE: Final = "after the first events, vacuumed by hand"
AFTER: Final = "after all events, vacuumed by autovacuum alone"
#: Times the band that claims and tables may be outside of it.
LIMIT: Final = 1.3
#: Seconds in which autovacuum has to come: it looks once a minute, and may have several tables to do.
PATIENCE: Final = 300.0
PAUSE: Final = 1.0

COLUMNS: Final = (
    Column("events\nso far", "events"),
    Column("claim 50\nms", "claim_ms", 2),
    Column("claim 50\npages", "claim_pages"),
    Column("first claim\npages", "search_pages"),
    Column("settle 50\nms", "settle_ms", 2),
    Column("claim 50\nmessages, ms", "claim_messages_ms", 2),
    *(Column(f"{table}\nbytes a row", f"{table}_bytes") for table in TABLES),
    *(Column(f"{table}\ndead rows", f"{table}_dead") for table in TABLES),
    Column("vacuums", "vacuums"),
    Column("seconds", "seconds"),
)
_SIZE: Final = "SELECT pg_total_relation_size('{table}')"
_ROWS: Final = "SELECT count(*) FROM {table}"
_DEAD: Final = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = '{table}'"
_VACUUMS: Final = (
    "SELECT coalesce(sum(autovacuum_count), 0) FROM pg_stat_user_tables"
    " WHERE relname IN ('inbox_events', 'outbox_messages')"
)
#: The tables that autovacuum would still do something about: by its defaults, and by what the migrations set.
_PENDING: Final = """
SELECT count(*) FROM pg_stat_user_tables JOIN pg_class ON pg_class.oid = relid
WHERE pg_class.relname IN ('inbox_events', 'outbox_messages') AND n_dead_tup > 50 + 0.02 * greatest(reltuples, 0)
"""


class Sizes(msgspec.Struct, frozen=True):
    """Events of the band and in all, of one portion that comes in at once, and of a probe that is timed."""

    first: int
    events: int
    portion: int
    probe: int
    #: Seconds that autovacuum may take; 0 for not waiting.
    patience: float


NORMAL = Sizes(first=20_000, events=100_000, portion=20_000, probe=2_000, patience=PATIENCE)
FULL = Sizes(first=50_000, events=1_000_000, portion=50_000, probe=2_000, patience=PATIENCE)
QUICK = Sizes(first=200, events=600, portion=200, probe=100, patience=0)


class VacuumSuite:
    """One database, one round: what matters is how much goes through it."""

    def __init__(self, store: ServerStore, sizes: Sizes, say: Callable[[str], None]) -> None:
        self._store = store
        self._sizes = sizes
        self._say = say
        self._began = time.monotonic()

    def everything(self) -> list[Series]:
        """Before and after."""
        sizes, place = self._sizes, self._store.place
        url = place.new("vacuum")
        rows = Rows(url, SystemClock().now(), sizes.events + 3 * sizes.probe)
        with looking(url) as look:
            self._pass(look, rows, sizes.first)
        samples = [self._after_vacuum(place, rows)]
        with looking(url) as look:
            while rows.waiting < sizes.events:
                self._pass(look, rows, min(sizes.portion, sizes.events - rows.waiting))
            _await_autovacuum(look, sizes.patience)
            samples.append(self._probe(look, rows))
        place.drop(url)
        return [_series(self._store.durability, samples, sizes.events)]

    def _after_vacuum(self, place: Place, rows: Rows) -> Sample:
        place.rest(rows.url)
        with looking(rows.url) as look:
            return self._probe(look, rows)

    def _probe(self, look: Look, rows: Rows) -> Sample:
        """Some more events, worked off against the clock; the pages of a claim while they wait."""
        rows.wait(self._sizes.probe)
        claim, search, _ = pages_of(rows.url)
        figures = self._work_off(look, rows, self._sizes.probe)
        return Sample(rows.waiting, {**figures, "claim_pages": claim, "search_pages": search})

    def _pass(self, look: Look, rows: Rows, count: int) -> None:
        """So many more events come in and are worked off."""
        rows.wait(count)
        self._work_off(look, rows, count)

    def _work_off(self, look: Look, rows: Rows, count: int) -> dict[str, float]:
        """So many events, with their messages; what it took and what it left."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            watch = runner.run(_work(rows.url, count))
        look.expect(
            {
                "SELECT count(*) FROM inbox_events WHERE state = 'PROCESSED'": rows.waiting,
                "SELECT count(*) FROM outbox_messages WHERE state = 'SENT'": 2 * rows.waiting,
                "SELECT count(*) FROM outbox_messages": 2 * rows.waiting,
            }
        )
        figures = self._figures(look, watch, rows.waiting)
        told = ", ".join(f"{name} {value:,.1f}" for name, value in figures.items())
        self._say(f"vacuum: {rows.waiting:,} events: {told}")
        return figures

    def _figures(self, look: Look, watch: Stopwatch, events: int) -> dict[str, float]:
        medians = {name: statistics.median(times) for name, times in watch.milliseconds.items()}
        figures: dict[str, float] = {
            "events": events,
            "claim_ms": medians[CLAIM],
            "settle_ms": medians[SETTLE],
            "claim_messages_ms": medians[CLAIM_MESSAGES],
            "vacuums": look.number(_VACUUMS),
            "seconds": time.monotonic() - self._began,
        }
        for table in TABLES:
            held = look.number(_SIZE.format(table=table)) / look.number(_ROWS.format(table=table))
            figures |= {f"{table}_bytes": held, f"{table}_dead": look.number(_DEAD.format(table=table))}
        return figures


def _await_autovacuum(look: Look, patience: float) -> None:
    """Until it has done what it is due to do. Raises BenchError when it has not."""
    deadline = time.monotonic() + patience
    while patience and look.number(_PENDING):
        if time.monotonic() > deadline:
            raise BenchError(f"autovacuum has not done its work after {patience} s")
        time.sleep(PAUSE)


async def _work(url: str, count: int) -> Stopwatch:
    """Claim and settle so many events, and two messages for each: one waited already, one its settlement made."""
    database = await open_unmigrated(Settings(database=url))
    try:
        worker = Worker(database.storage, Stopwatch())
        for _ in range(count // FIFTY):
            await worker.events()
            await worker.messages()
            await worker.messages()
        return worker.watch
    finally:
        await database.close()


def _series(durability: str, samples: list[Sample], events: int) -> Series:
    targets = [
        Target(f"{what}, after {events:,} events divided by the band's", AFTER, figure, LIMIT, BEFORE)
        for what, figure in (
            ("time of a claim", "claim_ms"),
            ("time of a claim of messages", "claim_messages_ms"),
            ("pages of a claim", "claim_pages"),
            ("pages of a claim that searches from the beginning", "search_pages"),
            *((f"bytes a row of {table}", f"{table}_bytes") for table in TABLES),
        )
    ]
    return Series(
        f"PostgreSQL after {events:,} events and twice as many messages, autovacuum at its defaults",
        tuple(Variant(name, durability) for name in (BEFORE, AFTER)),
        COLUMNS,
        (tuple(samples),),
        tuple(targets),
    )
