"""What ingest does with larger bodies, with duplicates, in one process and in two; on both databases, at saturation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from bench import server
from bench.looking import looking
from bench.processes import serving
from bench.report import Variant
from bench.rounds import take_turns
from bench.running import loading
from bench.running.half import EACH, GROUP, NOTHING, promise
from bench.running.loading import Loaded
from bench.running.report import Sample, Series, Target
from bench.running.stores import Store
from bench.scaled.family import family

LARGE: Final = 30_000
COLUMNS: Final = (
    loading.RATE,
    loading.P50,
    loading.P99,
    loading.SERVER,
    loading.POSTGRES,
    loading.GENERATOR,
    loading.OTHERS,
)


class Kind(msgspec.Struct, frozen=True):
    """What is sent, and to whom."""

    who: str = GROUP
    processes: int = 1
    size: int = 0
    repeated: float = 0.0

    @property
    def name(self) -> str:
        """As tables name it."""
        body = "30 KB" if self.size else "1 KB"
        repeated = f", {self.repeated:.0%} duplicates" if self.repeated else ""
        many = f", {self.processes} processes" if self.processes > 1 else ""
        return f"{self.who}: {body}{repeated}{many}"


SUBJECT: Final = Kind()
KINDS: Final = (
    SUBJECT,
    Kind(size=LARGE),
    Kind(repeated=0.1),
    Kind(repeated=1.0),
    Kind(processes=2),
    Kind(EACH),
    Kind(NOTHING),
    Kind(NOTHING, size=LARGE),
)
#: Enough to see that all of it works.
FEW: Final = (SUBJECT, Kind(processes=2, size=LARGE, repeated=0.1), Kind(EACH), Kind(NOTHING))


class Sizes(msgspec.Struct, frozen=True):
    """How often, and the requests of a run: of 1 KB, of 30 KB, of those that commit each."""

    rounds: int
    small: int
    large: int
    each: int
    kinds: tuple[Kind, ...]


NORMAL = Sizes(rounds=5, small=8_000, large=2_500, each=2_500, kinds=KINDS)
QUICK = Sizes(rounds=1, small=200, large=100, each=100, kinds=FEW)

#: The share of the rate without storing that is to be reached, by database; and how often that of one commit per request.
_SHARES: Final[Mapping[str, float]] = {"SQLite": 0.5, "PostgreSQL": 0.4}
_TIMES: Final[Mapping[str, float]] = {"SQLite": 4.5}


class ArrivalSuite:
    """Every run has servers and a database of its own."""

    def __init__(self, stores: Sequence[Store], sizes: Sizes, say: Callable[[str], None]) -> None:
        self._stores = stores
        self._sizes = sizes
        self._say = say

    def everything(self) -> list[Series]:
        """One database after the other."""
        return [self._on(store) for store in self._stores]

    def _on(self, store: Store) -> Series:
        rounds = take_turns(
            self._sizes.rounds, {kind: partial(self._run, store, kind) for kind in self._sizes.kinds}
        )
        return Series(
            f"Ingest on {store.name} at saturation, 64 connections",
            tuple(Variant(kind.name, promise(store, kind.who)) for kind in self._sizes.kinds),
            COLUMNS,
            tuple(tuple(done.values()) for done in rounds),
            tuple(_targets(store)),
        )

    def _run(self, store: Store, kind: Kind, number: int) -> Sample:
        count = (
            self._sizes.each if kind.who == EACH else self._sizes.large if kind.size else self._sizes.small
        )
        with store.fresh() as url:
            seen = self._receive(store, kind, url, count)
            loading.expect_stored(url, 0 if kind.who == NOTHING else seen.sent)
            with looking(url) as look:
                look.expect(
                    {"SELECT coalesce(sum(duplicates), 0) FROM inbox_events": round(count * kind.repeated)}
                )
        self._say(
            f"{store.name}, round {number + 1}: {kind.name}: {seen['rate']:.0f}/s, {seen.sent} verified"
        )
        return Sample(seen.sent, seen)

    def _receive(self, store: Store, kind: Kind, url: str, count: int) -> Loaded:
        more = ("--size", kind.size, "--repeated", kind.repeated)
        if kind.who != GROUP:
            inbox = server.SINGLE if kind.who == EACH else server.NOTHING
            with serving("bench.server", inbox, url) as process:
                return loading.closed(store, [process.port], [process.pid], count, *more)
        with family("ingest", kind.processes, url) as nodes:
            nodes.go()
            return loading.closed(store, nodes.ports, nodes.pids, count, *more)


def _targets(store: Store) -> list[Target]:
    name = store.name
    targets = [
        Target(
            f"{name}: rate divided by that without storing",
            SUBJECT.name,
            "rate",
            _SHARES[name],
            Kind(NOTHING).name,
            at_least=True,
        )
    ]
    if name in _TIMES:
        beside = Kind(EACH).name
        targets.append(
            Target(
                f"{name}: rate divided by that of one commit per request",
                SUBJECT.name,
                "rate",
                _TIMES[name],
                beside,
                at_least=True,
            )
        )
    return targets
