"""Latency at half load: half of what each variant can do itself, found in the same round, in the same process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from bench import server
from bench.processes import serving
from bench.report import Column, Variant
from bench.rounds import take_turns
from bench.running import loading
from bench.running.report import Sample, Series, Target
from bench.running.stores import Store

GROUP: Final = "Surehook"
EACH: Final = "the same server, one commit per request"
NOTHING: Final = "the same server, storing nothing"
_INBOXES: Final = {GROUP: server.GROUP, EACH: server.SINGLE, NOTHING: server.NOTHING}
_PROMISES: Final = {GROUP: "a commit that many requests share", EACH: "a commit of its own"}

COLUMNS: Final = (
    Column("a second\nsaturated", "full_rate"),
    Column("at half\nof it", "rate"),
    loading.P50,
    loading.P99,
    Column("p99\nsaturated", "full_p99_ms", 1),
    loading.SERVER,
    loading.POSTGRES,
    loading.GENERATOR,
    loading.LATE,
    loading.REFUSED,
    loading.OTHERS,
)


class Sizes(msgspec.Struct, frozen=True):
    """How often, how many requests to find the rate, and for how many seconds half of it is sent."""

    rounds: int
    found: int
    found_each: int
    seconds: float


NORMAL = Sizes(rounds=5, found=6_000, found_each=2_000, seconds=5)
QUICK = Sizes(rounds=1, found=200, found_each=100, seconds=0.5)


class HalfSuite:
    """Every run has a server and a database of its own."""

    def __init__(self, stores: Sequence[Store], sizes: Sizes, say: Callable[[str], None]) -> None:
        self._stores = stores
        self._sizes = sizes
        self._say = say

    def everything(self) -> list[Series]:
        """One database after the other."""
        return [self._on(store) for store in self._stores]

    def _on(self, store: Store) -> Series:
        rounds = take_turns(self._sizes.rounds, {name: partial(self._run, store, name) for name in _INBOXES})
        return Series(
            f"Latency at half load on {store.name}, from the moment at which a request was to be sent",
            tuple(Variant(name, promise(store, name)) for name in _INBOXES),
            COLUMNS,
            tuple(tuple(done.values()) for done in rounds),
            (
                Target(
                    f"{store.name}: p99 at half load divided by that of one commit per request at its own half load",
                    GROUP,
                    "p99_ms",
                    1.0,
                    EACH,
                ),
            ),
        )

    def _run(self, store: Store, name: str, number: int) -> Sample:
        count = self._sizes.found_each if name == EACH else self._sizes.found
        with store.fresh() as url:
            with serving("bench.server", _INBOXES[name], url) as process:
                full = loading.closed(store, [process.port], [process.pid], count)
                half = loading.opened(
                    store, [process.port], [process.pid], full["rate"] / 2, self._sizes.seconds
                )
            sent = full.sent + half.sent
            expected = 0 if name == NOTHING else sent
            stored = loading.expect_stored(url, expected, min(expected, half.refused))
        self._say(
            f"half load, {store.name}, round {number + 1}: {name}: {half['rate']:.0f}/s of {full['rate']:.0f}/s:"
            f" p50 {half['p50_ms']:.1f} ms, p99 {half['p99_ms']:.1f} ms, {stored or sent} verified"
        )
        return Sample(
            stored or sent,
            {
                **half,
                "full_rate": full["rate"],
                "full_p50_ms": full["p50_ms"],
                "full_p99_ms": full["p99_ms"],
            },
        )


def promise(store: Store, name: str) -> str:
    """What an answer says."""
    return (
        f"{store.durability}; answers after {_PROMISES[name]}"
        if name in _PROMISES
        else "none; answers at once"
    )
