"""From a webhook to its delivery at saturation: all of it counted at the receiver, and what it costs in all processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from bench.looking import looking
from bench.passage import expect_delivered, received
from bench.processes import PATIENCE, serving
from bench.report import Column, Variant
from bench.rounds import take_turns
from bench.running import loading
from bench.running.loading import Loaded
from bench.running.report import Sample, Series
from bench.running.stores import FileStore
from bench.running.ways import Way
from bench.scaled.family import Family

RELAY: Final = Variant(
    "the same server, passing on by aiohttp's client", "none; stores nothing, answers when it is delivered"
)

COLUMNS: Final = (
    Column("delivered\na second", "delivered"),
    Column("all processes\nus", "cpu_us"),
    Column("ingest\nus", "ingest_cpu_us"),
    Column("worker\nus", "worker_cpu_us"),
    Column("publisher\nus", "publisher_cpu_us"),
    loading.POSTGRES,
    Column("received\na second", "rate"),
    loading.P50,
    loading.P99,
    loading.GENERATOR,
    loading.OTHERS,
)


class Sizes(msgspec.Struct, frozen=True):
    """How often, and the events of a run."""

    rounds: int
    events: int


NORMAL = Sizes(rounds=5, events=5_000)
QUICK = Sizes(rounds=1, events=200)


class PipelineSuite:
    """Every run has a database of its own."""

    def __init__(
        self, file: FileStore, ways: Sequence[Way], sizes: Sizes, say: Callable[[str], None]
    ) -> None:
        """``file``: for the relay, which needs a database to refuse requests."""
        self._file = file
        self._ways = {way.name: way for way in ways}
        self._sizes = sizes
        self._say = say

    def everything(self) -> list[Series]:
        """The one comparison."""
        turns: dict[str, Callable[[int], Sample]] = {
            name: partial(self._run, way) for name, way in self._ways.items()
        }
        turns[RELAY.name] = self._relay
        rounds = take_turns(self._sizes.rounds, turns)
        return [
            Series(
                "Webhook in, handled in a transaction, delivered: at saturation, until the last one has arrived",
                (*(way.variant() for way in self._ways.values()), RELAY),
                COLUMNS,
                tuple(tuple(done.values()) for done in rounds),
            )
        ]

    def _run(self, way: Way, number: int) -> Sample:
        with way.store.fresh() as url, serving("bench.scaled.receiver") as receiver:
            with way.nodes(url, receiver.port) as nodes:
                seen, rate = self._deliver(way, nodes, receiver.port)
                settle(nodes, url)
            with looking(url) as look:
                expect_delivered(look, seen.sent)
        return self._sample(way.name, number, seen, rate)

    def _deliver(self, way: Way, nodes: Mapping[str, Family], sink: int) -> tuple[Loaded, float]:
        """The figures, and deliveries a second."""
        before, server = {roles: each.seconds() for roles, each in nodes.items()}, way.store.seconds()
        first = next(iter(nodes.values()))
        seen = loading.closed(way.store, first.ports, first.pids, self._sizes.events)
        rate = delivered(sink, seen)
        for roles, each in nodes.items():
            seen[way.label(roles)] = (each.seconds() - before[roles]) / seen.sent * 1e6
        if len(nodes) > 1:
            seen["cpu_us"] = sum(seen[way.label(roles)] for roles in nodes)
        if used := way.store.seconds() - server:
            seen["postgres_cpu_us"] = used / seen.sent * 1e6
        return seen, rate

    def _relay(self, number: int) -> Sample:
        with (
            self._file.fresh() as url,
            serving("bench.scaled.receiver") as receiver,
            serving("bench.running.relay", url, "--sink", receiver.port) as relay,
        ):
            seen = loading.closed(self._file, [relay.port], [relay.pid], self._sizes.events)
            return self._sample(RELAY.name, number, seen, delivered(receiver.port, seen))

    def _sample(self, name: str, number: int, seen: Loaded, rate: float) -> Sample:
        self._say(
            f"pipeline, round {number + 1}: {name}: {rate:.0f}/s delivered, {seen['cpu_us']:.0f} us an event,"
            f" {seen.sent} verified"
        )
        return Sample(seen.sent, {**seen, "delivered": rate})


def delivered(sink: int, seen: Loaded) -> float:
    """Deliveries a second since the clock started, when all have arrived."""
    began = int(seen.seen["began_ns"])
    arrived = [at for _, at in received(sink, seen.sent, PATIENCE).values() if at > began]
    return len(arrived) / (max(arrived) - began) * 1e9


def settle(nodes: Mapping[str, Family], url: str, within: float = PATIENCE) -> int:
    """Wait until all is processed and the results of all deliveries are written down; how many messages there are.

    ``within``: seconds, for each of the two.
    """
    with looking(url) as look:
        for role in ("worker", "publisher"):
            [family] = [each for roles, each in nodes.items() if role in roles.split(",")]
            family.finish(role, look, within)
        return look.number("SELECT count(*) FROM outbox_messages")
