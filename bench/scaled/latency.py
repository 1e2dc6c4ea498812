"""How long a webhook takes through three processes that have little to do: ingest, worker and publisher.

At a steady rate, when they have more to do, it is also measured what an event costs there: under full load hundreds of
events share a commit, and here only a few do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Final

import msgspec

from bench.looking import looking
from bench.passage import Span, commits, expect_delivered, received, send, span_of, spans_of
from bench.processes import serving
from bench.rounds import take_turns
from bench.scaled.family import Family, family
from bench.scaled.ground import Ground
from bench.scaled.meter import Meter, seconds_of

ROLES: Final = ("ingest", "worker", "publisher")
#: Sent before the clock starts, so that code and caches are warm.
WARM_UP: Final = 20

NOTIFY: Final = "LISTEN/NOTIFY"
REDIS: Final = "Redis"
POLLING: Final = "polling only: pgbouncer, no listen_url"
FLOOR: Final = "an INSERT and its commit, psycopg"


class Pace(msgspec.Struct, frozen=True):
    """How much is sent."""

    title: str
    #: Requests a second, and in all.
    rate: float
    count: int


class Sizes(msgspec.Struct, frozen=True):
    """How often all of it is repeated, and what is sent each time."""

    rounds: int
    paces: tuple[Pace, ...]


NORMAL = Sizes(rounds=3, paces=(Pace("idle", 10, 300), Pace("steady", 200, 3_000)))
QUICK = Sizes(rounds=1, paces=(Pace("steady", 50, 50),))


class Passage(msgspec.Struct, frozen=True):
    """One verified run of one variant."""

    variant: str
    rate: float
    verified: int
    #: Until the answer, the handler's start, the message's arrival at the destination.
    spans: Mapping[str, Span]
    #: For each event: CPU time of each role, and what the servers spend.
    details: Mapping[str, float]


class Latencies(msgspec.Struct, frozen=True):
    """All variants at one pace. ``rounds`` holds one run of each, in their order."""

    pace: Pace
    rounds: tuple[tuple[Passage, ...], ...]


class LatencySuite:
    """Each run has processes and a database of its own."""

    def __init__(self, ground: Ground, sizes: Sizes, say: Callable[[str], None]) -> None:
        self._ground = ground
        self._sizes = sizes
        self._say = say

    def everything(self) -> list[Latencies]:
        """Each pace after the other."""
        return [self._at(pace) for pace in self._sizes.paces]

    def _at(self, pace: Pace) -> Latencies:
        turns = {name: partial(self._run, name, pace) for name in (NOTIFY, REDIS, POLLING, FLOOR)}
        rounds = take_turns(self._sizes.rounds, turns)
        return Latencies(pace, tuple(tuple(done.values()) for done in rounds))

    def _run(self, name: str, pace: Pace, number: int) -> Passage:
        self._ground.announce(None)
        with self._ground.database() as url:
            done = self._commits(url, pace) if name == FLOOR else self._pass(name, url, pace)
        middle = ", ".join(f"{what} {span.p50_ms:.1f} ms" for what, span in done.spans.items())
        self._say(f"{pace.title}, round {number + 1}: {name}: {middle}, {done.verified} verified")
        return done

    def _pass(self, name: str, url: str, pace: Pace) -> Passage:
        with serving("bench.scaled.receiver") as receiver, self._nodes(name, url, receiver.port) as nodes:
            port = nodes["ingest"].ports[0]
            warm = send(port, pace.rate, WARM_UP)
            received(receiver.port, WARM_UP)
            with Meter(self._ground, url) as meter:
                before = {role: seconds_of(each.pids) for role, each in nodes.items()}
                sent = send(port, pace.rate, pace.count)
                arrived = received(receiver.port, WARM_UP + pace.count)
                after = {role: seconds_of(each.pids) for role, each in nodes.items()}
                meter.stop()
                nodes["publisher"].finish("publisher", meter.look)
                for each in nodes.values():
                    each.kill()
                figures = meter.figures(pace.count)
        with looking(url) as look:
            expect_delivered(look, WARM_UP + pace.count)
        used = {f"{role}_cpu_us": (after[role] - before[role]) / pace.count * 1e6 for role in ROLES}
        return Passage(
            name,
            pace.count / sent["seconds"],
            len(arrived),
            spans_of(warm, sent, arrived),
            {**used, **figures},
        )

    @contextmanager
    def _nodes(self, name: str, url: str, sink: int) -> Iterator[Mapping[str, Family]]:
        """One process of each role, at work."""
        database = self._ground.pooler.url(url.rpartition("/")[2]) if name == POLLING else url
        queue = self._ground.redis.url() if name == REDIS else "database"
        arguments = (database, "--queue", queue, "--sink", sink, "--app", "timed")
        with ExitStack() as stack:
            nodes = {role: stack.enter_context(family(role, 1, *arguments)) for role in ROLES}
            for each in nodes.values():
                each.go()
            yield nodes

    def _commits(self, url: str, pace: Pace) -> Passage:
        """The least that a durable answer takes."""
        began = time.perf_counter()
        milliseconds = commits(url, pace.rate, pace.count)
        seconds = time.perf_counter() - began
        return Passage(FLOOR, pace.count / seconds, pace.count, {"answered": span_of(milliseconds)}, {})
