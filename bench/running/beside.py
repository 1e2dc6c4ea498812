"""Arrivals beside a saturated worker on one SQLite file: what each side keeps of what it can do alone.

The worker's handlers are transactional, and its backlog outlasts the run. Ingest gets half of what it can do alone. The two
share a process, as by default, or have one each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

import msgspec

from bench.looking import looking
from bench.processes import BenchError
from bench.report import Column, Variant
from bench.rounds import take_turns
from bench.running import loading
from bench.running.report import Sample, Series, Target
from bench.running.stores import FileStore
from bench.scaled.family import Family, family
from bench.scaled.rows import Rows
from surehook.clock import SystemClock

ALONE: Final = "ingest alone"
TOGETHER: Final = "ingest and worker in one process"
APART: Final = "ingest and worker in a process each"
WORKER: Final = "the worker alone"
#: The processes of each, by their roles.
_PROCESSES: Final = {
    ALONE: ("ingest",),
    TOGETHER: ("ingest,worker",),
    APART: ("ingest", "worker"),
    WORKER: ("worker",),
}
#: Seconds in which the worker gets going before anything is measured.
WARM_UP: Final = 1.0

COLUMNS: Final = (
    Column("received\na second", "rate"),
    loading.P50,
    loading.P99,
    Column("processed\na second", "processed"),
    Column("processes us,\nan event", "event_cpu_us"),
    loading.GENERATOR,
    loading.LATE,
    loading.REFUSED,
    loading.OTHERS,
)
SHOWS: Final = (
    *(Target(f"{name}: requests refused", name, "refused", 0.0) for name in (TOGETHER, APART)),
    *(
        Target(f"{name}: p99 divided by that of ingest alone", name, "p99_ms", 3.0, ALONE)
        for name in (TOGETHER, APART)
    ),
    *(
        Target(
            f"{name}: processed a second, divided by the worker's alone",
            name,
            "processed",
            1 / 3,
            WORKER,
            at_least=True,
        )
        for name in (TOGETHER, APART)
    ),
)


class Sizes(msgspec.Struct, frozen=True):
    """How often, how many events wait at first, requests to find ingest's rate, seconds of a run."""

    rounds: int
    waiting: int
    found: int
    seconds: float


NORMAL = Sizes(rounds=5, waiting=80_000, found=6_000, seconds=5)
QUICK = Sizes(rounds=1, waiting=25_000, found=200, seconds=0.5)


class BesideSuite:
    """Every run has a copy of the same backlog."""

    def __init__(self, store: FileStore, sizes: Sizes, say: Callable[[str], None]) -> None:
        self._store = store
        self._sizes = sizes
        self._say = say
        #: Half of what ingest can do alone, in each round so far.
        self._halves: dict[int, float] = {}
        self._backlog = ""

    def everything(self) -> list[Series]:
        """The one comparison."""
        self._backlog = self._store.place.new("backlog")
        Rows(self._backlog, SystemClock().now(), self._sizes.waiting).wait(self._sizes.waiting)
        self._store.place.rest(self._backlog)
        rounds = take_turns(self._sizes.rounds, {name: partial(self._run, name) for name in _PROCESSES})
        self._store.place.drop(self._backlog)
        title = f"Arrivals at half load beside a saturated worker, {self._sizes.waiting:,} events waiting"
        durability = f"{self._store.durability}; answers and completions after a commit"
        return [
            Series(
                title,
                tuple(Variant(name, durability) for name in _PROCESSES),
                COLUMNS,
                tuple(tuple(done.values()) for done in rounds),
                SHOWS,
            )
        ]

    def _run(self, name: str, number: int) -> Sample:
        half = self._half(number)
        with self._copy() as url:
            sent, figures = self._watch(url) if name == WORKER else self._send(name, url, half)
            done = self._verify(url, sent, round(figures.get("refused", 0)))
        told = ", ".join(
            f"{column.name} {figures[column.name]:.1f}" for column in COLUMNS[:4] if column.name in figures
        )
        self._say(f"beside a worker, round {number + 1}: {name}: {told}, {sent + done} verified")
        return Sample(sent + done, figures)

    def _half(self, number: int) -> float:
        if number not in self._halves:
            with self._copy() as url, self._nodes(ALONE, url) as nodes:
                full = loading.closed(self._store, nodes[0].ports, nodes[0].pids, self._sizes.found)
            self._halves[number] = full["rate"] / 2
        return self._halves[number]

    def _send(self, name: str, url: str, rate: float) -> tuple[int, dict[str, float]]:
        """Arrivals, with or without a worker beside them; how many were sent, in all."""
        with self._nodes(name, url) as nodes:
            pids = [pid for each in nodes for pid in each.pids]
            seen = loading.opened(self._store, nodes[0].ports, pids, rate, self._sizes.seconds)
        began, ended = seen.seen["began"], seen.seen["ended"]
        processed = self._processed(url, began, ended) if name != ALONE else 0
        arrived = round(seen["rate"] * (ended - began))
        figures = {
            **seen,
            "event_cpu_us": seen["cpu_us"] * arrived / (arrived + processed),
        }
        if name != ALONE:
            figures["processed"] = processed / (ended - began)
        return seen.sent, figures

    def _watch(self, url: str) -> tuple[int, dict[str, float]]:
        """The worker alone, for as long."""
        with self._nodes(WORKER, url) as [nodes]:
            time.sleep(WARM_UP)
            used, began = nodes.seconds(), time.time()
            time.sleep(self._sizes.seconds)
            used, ended = nodes.seconds() - used, time.time()
        processed = self._processed(url, began, ended)
        return 0, {"processed": processed / (ended - began), "event_cpu_us": used / processed * 1e6}

    @contextmanager
    def _copy(self) -> Iterator[str]:
        url = self._store.place.copy("beside", self._backlog)
        try:
            yield url
        finally:
            self._store.place.drop(url)

    @contextmanager
    def _nodes(self, name: str, url: str) -> Iterator[list[Family]]:
        """At work; at the end they are killed without warning."""
        with ExitStack() as stack:
            nodes = [
                stack.enter_context(family(roles, 1, url, "--app", "with_tx")) for roles in _PROCESSES[name]
            ]
            for each in nodes:
                each.go()
            yield nodes

    def _processed(self, url: str, began: float, ended: float) -> int:
        """How many events were finished in between."""
        with looking(url) as look:
            return look.number(
                "SELECT count(*) FROM inbox_events WHERE state = 'PROCESSED'"
                f" AND finished_at BETWEEN {int(began * 1000)} AND {int(ended * 1000)}"
            )

    def _verify(self, url: str, sent: int, refused: int) -> int:
        """Nothing was lost or done twice, and the backlog has lasted; how many events were processed."""
        loading.expect_stored(url, self._sizes.waiting + sent, refused)
        with looking(url) as look:
            done = look.number("SELECT count(*) FROM inbox_events WHERE state = 'PROCESSED'")
            if not look.number("SELECT count(*) FROM inbox_events WHERE state = 'RECEIVED'"):
                raise BenchError(f"a backlog of {self._sizes.waiting} events did not last")
            look.expect({"SELECT count(*) FROM outbox_messages": self._sizes.waiting + done})
            if done:
                look.expect(
                    {
                        "SELECT count(*) FROM bench_payments": done,
                        "SELECT count(DISTINCT event) FROM bench_payments": done,
                    }
                )
        return done
