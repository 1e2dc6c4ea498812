"""How long a webhook takes when nothing else happens: to its answer, to its handler's start, to its delivery."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

import msgspec

from bench.looking import looking
from bench.passage import commits, expect_delivered, received, send, span_of, spans_of
from bench.processes import serving
from bench.report import Column, Variant
from bench.rounds import take_turns
from bench.running.pipeline import settle
from bench.running.report import Sample, Series, Target
from bench.running.stores import Others, Store
from bench.running.ways import Way

#: Sent before the clock starts, so that code and caches are warm.
WARM_UP: Final = 20
#: Milliseconds that a handler may begin later than a bare commit takes.
LIMIT: Final = 5.0

SPANS: Final = {"answered": "answered", "started": "handler\nstarted", "delivered": "delivered"}
COLUMNS: Final = (
    *(
        Column(f"{title}\n{share} ms", f"{span}_{share}_ms", 1)
        for span, title in SPANS.items()
        for share in ("p50", "p99")
    ),
    Column("others\n%", "others", 1),
)


class Sizes(msgspec.Struct, frozen=True):
    """How often, requests a second and in a run."""

    rounds: int
    rate: float
    count: int


NORMAL = Sizes(rounds=5, rate=20, count=300)
QUICK = Sizes(rounds=1, rate=40, count=20)


class IdleSuite:
    """Every run has a database of its own; each way stands beside bare commits in its database."""

    def __init__(self, ways: Sequence[Way], sizes: Sizes, say: Callable[[str], None]) -> None:
        self._ways = ways
        self._sizes = sizes
        self._say = say

    def everything(self) -> list[Series]:
        """The one comparison."""
        turns: dict[Variant, Callable[[int], Sample]] = {}
        for way in self._ways:
            turns[way.variant()] = partial(self._run, way)
            turns[floor(way.store)] = partial(self._floor, way.store)
        rounds = take_turns(self._sizes.rounds, turns)
        sizes = self._sizes
        return [
            Series(
                f"Idle: {sizes.rate:g} requests a second at random moments, milliseconds since each was sent",
                tuple(turns),
                COLUMNS,
                tuple(tuple(done.values()) for done in rounds),
                tuple(_targets(self._ways)),
            )
        ]

    def _run(self, way: Way, number: int) -> Sample:
        rate, count = self._sizes.rate, self._sizes.count
        with way.store.fresh() as url, serving("bench.scaled.receiver") as receiver:
            with way.nodes(url, receiver.port) as nodes:
                port = next(iter(nodes.values())).ports[0]
                warm = send(port, rate, WARM_UP)
                received(receiver.port, WARM_UP)
                others = Others()
                sent = send(port, rate, count)
                arrived = received(receiver.port, WARM_UP + count)
                figures = {"others": others.percent()}
                settle(nodes, url)
            with looking(url) as look:
                expect_delivered(look, WARM_UP + count)
        for name, span in spans_of(warm, sent, arrived).items():
            figures |= {f"{name}_p50_ms": span.p50_ms, f"{name}_p99_ms": span.p99_ms}
        return self._sample(way.name, number, figures, len(arrived))

    def _floor(self, store: Store, number: int) -> Sample:
        with store.fresh() as url:
            others = Others()
            span = span_of(commits(url, self._sizes.rate, self._sizes.count))
        figures = {
            "answered_p50_ms": span.p50_ms,
            "answered_p99_ms": span.p99_ms,
            "others": others.percent(),
        }
        return self._sample(floor(store).name, number, figures, self._sizes.count)

    def _sample(self, name: str, number: int, figures: dict[str, float], verified: int) -> Sample:
        middle = ", ".join(
            f"{span} {figures[f'{span}_p50_ms']:.1f} ms" for span in SPANS if f"{span}_p50_ms" in figures
        )
        self._say(f"idle, round {number + 1}: {name}: {middle}, {verified} verified")
        return Sample(verified, figures)


def floor(store: Store) -> Variant:
    """The commit itself."""
    return Variant(f"an INSERT of 1 KB and its commit, {store.name}", store.durability)


def _targets(ways: Sequence[Way]) -> Iterator[Target]:
    for way in ways:
        text = f"{way.name}: handler started, p50, ms above"
        figures = ("started_p50_ms", LIMIT)
        commit = floor(way.store).name
        yield Target(f"{text} a bare commit", way.name, *figures, commit, "answered_p50_ms", minus=True)
        yield Target(f"{text} its own answer", way.name, *figures, way.name, "answered_p50_ms", minus=True)
