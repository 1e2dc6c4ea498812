"""How each run is done and verified."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec

from bench.peers.catalogue import Entry, Selection
from bench.peers.probe import probe
from bench.peers.stores import Place, Shelf, Store
from bench.processes import PATIENCE, BenchError, Child, beginning, family_seconds, listening, run
from bench.report import Comparison, Run
from bench.rounds import take_turns

#: Seconds from one look at a store to the next: each is work for its server.
LOOK_EVERY = 0.05
#: Events of every run of a quick round.
FEW = 100
#: What is kept of a run of ingest, beside its rate.
DETAILS = ("p50_ms", "p99_ms", "generator_cpu_us", "store_cpu_us", "whole_cpu_us")
#: Tables that PostgreSQL does not write to its log, and loses in a crash.
UNLOGGED = "SELECT 1 FROM pg_class WHERE relpersistence = 'u'"

#: Does one run of one entry.
Runner = Callable[[Entry], Run]


class Sizes(msgspec.Struct, frozen=True):
    """How often everything is repeated; in a quick round every run is small."""

    rounds: int
    quick: bool = False

    def events(self, entry: Entry) -> int:
        """Of one run."""
        return FEW if self.quick else entry.events


class PeerSuite:
    """The two comparisons, over one shelf for each place."""

    def __init__(self, shelves: Mapping[Place, Shelf], sizes: Sizes, say: Callable[[str], None]) -> None:
        self._shelves = shelves
        self._sizes = sizes
        self._say = say

    def everything(self, chosen: Selection) -> list[Comparison]:
        """What is selected."""
        for entry in chosen.ingest:
            self._probe(entry)
        return [
            *self._compare("ingest behind HTTP", chosen.ingest, self._receive),
            *self._compare("processing, a handler that does nothing", chosen.processing, self._work),
        ]

    def _probe(self, entry: Entry) -> None:
        """Whether it does what its row says, before it is measured."""
        with (
            self._shelves[entry.place].empty() as store,
            listening(entry.command("serve", store.url)) as server,
        ):
            probe(entry.variant.name, server.port)
            kept = 1 if entry.peer.deduplicates else 2
            _expect(entry, "kept of an event that came twice", store.count(entry.kept.left), kept)

    def _compare(self, title: str, entries: Sequence[Entry], runner: Runner) -> list[Comparison]:
        """Everybody in turns."""
        if not entries:
            return []
        turns = {entry: partial(self._run, title, runner, entry) for entry in entries}
        rounds = take_turns(self._sizes.rounds, turns)
        return beside_both(title, rounds)

    def _run(self, title: str, runner: Runner, entry: Entry, number: int) -> Run:
        done = runner(entry)
        self._say(f"{title}, round {number + 1}: {done.variant}: {done.rate:.0f}/s, {done.verified} verified")
        return done

    def _receive(self, entry: Entry) -> Run:
        with self._shelves[entry.place].empty() as store:
            seen = self._send(entry, store)
            if entry.place is Place.POSTGRESQL and store.holds(UNLOGGED):
                raise BenchError(f"{entry.variant.name} has tables that a crash empties")
        details = {name: seen[name] for name in DETAILS}
        return Run(entry.variant.name, seen["rate"], seen["cpu_us"], int(seen["sent"]), details)

    def _send(self, entry: Entry, store: Store) -> dict[str, Any]:
        """Webhooks, each of which must be answered and, after the server was killed, be in the store."""
        with listening(entry.command("serve", store.url)) as server:
            arguments = ("--port", server.port, "--server", server.pid, "--count", self._sizes.events(entry))
            before = store.seconds()
            seen = run("bench.load", *arguments)
            seen["store_cpu_us"] = (store.seconds() - before) / seen["sent"] * 1e6
            seen["whole_cpu_us"] = seen["cpu_us"] + seen["store_cpu_us"]
        if seen["wrong"]:
            raise BenchError(f"{entry.variant.name}: wrong answers: {seen['wrong']}")
        _expect(entry, "stored", store.count(entry.kept.stored), seen["sent"])
        return seen

    def _fill(self, entry: Entry, store: Store) -> None:
        self._send(entry, store)

    def _work(self, entry: Entry) -> Run:
        name = f"{entry.peer.name}-{self._sizes.events(entry)}".replace("-", "_")
        with self._shelves[entry.place].filled(name, partial(self._fill, entry)) as store:
            total = store.count(entry.kept.left)
            with beginning(entry.command("work", store.url)) as worker:
                worker.ready()
                measured = _work_off(entry, store, worker, total)
                done = store.count(entry.kept.done) if entry.kept.done else worker.handled()
            _expect(entry, "handled", done, total)
        return measured


def _work_off(entry: Entry, store: Store, worker: Child, total: int) -> Run:
    """The clock starts when the worker is connected, and does not count what it has done until then."""
    worker.go()
    worker.begun()
    began, cpu, server = time.perf_counter(), family_seconds(worker.pid), store.seconds()
    # a handful of events may be gone by now; at least one is reckoned, for the quick round
    waiting = max(1, store.count(entry.kept.left))
    while store.holds(entry.kept.left):
        worker.check()
        if time.perf_counter() - began > PATIENCE:
            raise BenchError(f"{entry.variant.name}: after {PATIENCE} s something is left to do")
        time.sleep(LOOK_EVERY)
    seconds = time.perf_counter() - began
    used, served = family_seconds(worker.pid) - cpu, store.seconds() - server
    own, stores = used / waiting * 1e6, served / waiting * 1e6
    details = {"store_cpu_us": stores, "whole_cpu_us": own + stores}
    return Run(entry.variant.name, waiting / seconds, own, total, details)


def _expect(entry: Entry, what: str, seen: float, expected: float) -> None:
    if seen != expected:
        raise BenchError(
            f"{entry.variant.name} lost or doubled something: {seen} {what}, expected {expected}"
        )


def beside_both(title: str, rounds: Sequence[Mapping[Entry, Run]]) -> list[Comparison]:
    """From one set of rounds: Surehook on SQLite beside everybody else, then on PostgreSQL beside who is there as well."""
    file, server = (_surehook(place, rounds[0]) for place in (Place.SQLITE, Place.POSTGRESQL))
    there = [entry for entry in rounds[0] if entry.place is Place.POSTGRESQL]
    found = [_beside(title, file, list(rounds[0]), rounds)]
    return [*found, _beside(title, server, there, rounds)] if len(there) > 1 else found


def _surehook(place: Place, entries: Iterable[Entry]) -> Entry:
    return next(entry for entry in entries if entry.is_surehook and entry.place is place)


def _beside(
    title: str, subject: Entry, entries: Sequence[Entry], rounds: Sequence[Mapping[Entry, Run]]
) -> Comparison:
    others = [entry for entry in entries if entry != subject]
    runs = tuple(tuple(done[entry] for entry in (subject, *others)) for done in rounds)
    return Comparison(title, subject.variant, tuple(entry.variant for entry in others), runs)
