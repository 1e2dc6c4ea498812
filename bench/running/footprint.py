"""What processes hold in memory at rest and after many events, and what an event holds of the disk when it was delivered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec

from bench.looking import looking
from bench.passage import expect_delivered, received
from bench.processes import serving
from bench.report import Column
from bench.rounds import take_turns
from bench.running import loading
from bench.running.memory import peak, resident
from bench.running.pipeline import settle
from bench.running.report import Sample, Series, Target
from bench.running.ways import APART, Way
from bench.scaled.meter import seconds_of

#: Requests of one run of the generator, which holds them in memory.
CHUNK: Final = 10_000
#: Seconds in which all that was accepted must be delivered.
PATIENCE: Final = 3_600.0
#: MB that all roles in one process may have resident.
LIMIT: Final = 120.0

_MOMENTS: Final = {"rest": "at rest", "after": "after", "peak": "peak"}
COLUMNS: Final = (
    *(
        Column(f"{role}\n{title}, MB", f"{role}_{moment}", 1)
        for role in ("process", *APART)
        for moment, title in _MOMENTS.items()
    ),
    Column("disk\nbytes", "disk_bytes"),
    Column("us of all\nprocesses", "cpu_us"),
    loading.POSTGRES,
)


class Sizes(msgspec.Struct, frozen=True):
    """How often, and the events of a run."""

    rounds: int
    events: int


NORMAL = Sizes(rounds=1, events=100_000)
QUICK = Sizes(rounds=1, events=300)


class FootprintSuite:
    """Every run has a database of its own."""

    def __init__(self, ways: Sequence[Way], sizes: Sizes, say: Callable[[str], None]) -> None:
        self._ways = ways
        self._sizes = sizes
        self._say = say

    def everything(self) -> list[Series]:
        """A series for each way: their processes differ."""
        turns = {way.name: partial(self._run, way) for way in self._ways}
        rounds = take_turns(self._sizes.rounds, turns)
        return [self._series(way, [done[way.name] for done in rounds]) for way in self._ways]

    def _series(self, way: Way, samples: Sequence[Sample]) -> Series:
        found = {name for sample in samples for name in sample.figures}
        targets = (
            Target(
                f"{way.name}: MB resident after {self._sizes.events:,} events",
                way.name,
                "process_after",
                LIMIT,
            ),
        )
        return Series(
            f"Memory before and after {self._sizes.events:,} events were received, handled and delivered; disk for each",
            (way.variant(),),
            tuple(column for column in COLUMNS if column.name in found),
            tuple((sample,) for sample in samples),
            targets if "process_after" in found else (),
        )

    def _run(self, way: Way, number: int) -> Sample:
        with way.store.fresh() as url, serving("bench.scaled.receiver") as receiver:
            before = way.store.size(url)
            with way.nodes(url, receiver.port) as nodes:
                pids = {label(roles): each.pids[0] for roles, each in nodes.items()}
                figures = {f"{name}_rest": resident(pid) for name, pid in pids.items()}
                used, server = seconds_of(pids.values()), way.store.seconds()
                first = next(iter(nodes.values()))
                sent = sum(
                    loading.closed(way.store, first.ports, first.pids, count).sent for count in self._chunks()
                )
                received(receiver.port, sent, PATIENCE)
                settle(nodes, url)
                figures |= {f"{name}_after": resident(pid) for name, pid in pids.items()}
                figures |= {f"{name}_peak": peak(pid) for name, pid in pids.items()}
                figures["cpu_us"] = (seconds_of(pids.values()) - used) / sent * 1e6
                figures["postgres_cpu_us"] = (way.store.seconds() - server) / sent * 1e6
            with looking(url) as look:
                expect_delivered(look, sent)
            figures["disk_bytes"] = (way.store.size(url) - before) / sent
        told = ", ".join(f"{name} {value:.0f}" for name, value in figures.items())
        self._say(f"footprint, round {number + 1}: {way.name}: {told}, {sent} verified")
        return Sample(sent, figures)

    def _chunks(self) -> Iterator[int]:
        for start in range(0, self._sizes.events, CHUNK):
            yield min(CHUNK, self._sizes.events - start)


def label(roles: str) -> str:
    """What a process is called that has these roles."""
    return roles if roles in APART else "process"
