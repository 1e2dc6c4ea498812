"""Whether memory grows under a load that stays the same: all roles at work, every process looked at again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bench.looking import looking
from bench.passage import expect_delivered, received
from bench.processes import serving
from bench.report import Column, Variant
from bench.running import loading
from bench.running.footprint import label
from bench.running.memory import Watch, slope
from bench.running.pipeline import settle
from bench.running.report import Sample, Series, Target
from bench.running.ways import Way

#: Of the time, at the beginning: caches fill, SQLite's with the pages of some 10,000 events.
WARM_UP: Final = 1 / 3
#: Seconds in which what still waits must be worked off: a busy machine may fall behind the rate.
CATCH_UP: Final = 1_800.0
#: The growth in percent of what is resident that is none: an allocator's own noise.
NOISE: Final = 2.0

COLUMNS: Final = (
    Column("MB after\nwarm-up", "begin", 1),
    Column("MB at\nthe end", "end", 1),
    Column("MB an\nhour", "hourly", 2),
    Column("growth in\n% of all", "growth", 2),
    Column("minutes\nwatched", "minutes", 1),
    Column("events\na second", "rate"),
    loading.REFUSED,
)


class Sizes(msgspec.Struct, frozen=True):
    """Events a second, seconds from one look to the next, seconds of one run of the generator, minutes in all."""

    rate: float
    interval: float
    chunk: float
    minutes: float


NORMAL = Sizes(rate=100, interval=1, chunk=20, minutes=10)
QUICK = Sizes(rate=60, interval=0.05, chunk=1, minutes=0.04)


class SteadySuite:
    """One way after the other, each with a database of its own."""

    def __init__(self, ways: Sequence[Way], sizes: Sizes, say: Callable[[str], None]) -> None:
        self._ways = ways
        self._sizes = sizes
        self._say = say

    def everything(self) -> list[Series]:
        """One round: what matters is its length."""
        found = {variant: sample for way in self._ways for variant, sample in self._run(way).items()}
        sizes = self._sizes
        return [
            Series(
                f"Memory at {sizes.rate:g} events a second, received, handled and delivered, {sizes.minutes:g} minutes",
                tuple(found),
                COLUMNS,
                (tuple(found.values()),),
                tuple(
                    Target(
                        f"{each.name}: growth by least squares, in % of what is resident",
                        each.name,
                        "growth",
                        NOISE,
                    )
                    for each in found
                ),
            )
        ]

    def _run(self, way: Way) -> dict[Variant, Sample]:
        with way.store.fresh() as url, serving("bench.scaled.receiver") as receiver:
            with way.nodes(url, receiver.port) as nodes:
                pids = {label(roles): each.pids[0] for roles, each in nodes.items()}
                first = next(iter(nodes.values()))
                began, sent, refused = time.monotonic(), 0, 0
                with Watch(pids, self._sizes.interval) as watch:
                    while time.monotonic() - began < self._sizes.minutes * 60:
                        seen = loading.opened(
                            way.store, first.ports, first.pids, self._sizes.rate, self._sizes.chunk
                        )
                        sent, refused = sent + seen.sent, refused + seen.refused
                        self._say(f"steady: {way.name}: {sent} sent, {refused} refused")
                figures = {"rate": sent / (time.monotonic() - began), "refused": float(refused)}
                received(receiver.port, settle(nodes, url, CATCH_UP))
            stored = loading.expect_stored(url, sent, refused)
            with looking(url) as look:
                expect_delivered(look, stored)
        durability = way.variant().durability
        return {
            Variant(f"{way.name}: {name}", durability): Sample(stored, growth(samples) | figures)
            for name, samples in watch.samples.items()
        }


def growth(samples: Sequence[tuple[float, float]]) -> dict[str, float]:
    """From seconds and MB, without those at the beginning: what was there, by how much it grew, in what time."""
    last = samples[-1][0]
    later = [sample for sample in samples if sample[0] >= last * WARM_UP]
    each, seconds = slope(later), last - later[0][0]
    return {
        "begin": later[0][1],
        "end": later[-1][1],
        "hourly": each * 3_600,
        "growth": 100 * each * seconds / later[-1][1],
        "minutes": seconds / 60,
    }
