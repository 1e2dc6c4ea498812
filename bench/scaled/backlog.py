"""What verbs cost when many events wait, and when many more are finished; beside the smallest backlog of the same round."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from bench.looking import looking
from bench.processes import BenchError
from bench.rounds import take_turns
from bench.scaled.ground import Ground
from bench.scaled.places import POSTGRESQL, SQLITE, OnFiles, OnServer, Place
from bench.scaled.rows import Rows
from bench.scaled.verbs import CLAIM, FIFTY, Round, Stopwatch, claimed, measure
from surehook.clock import SystemClock
from surehook.queue.redis import RedisQueue

DEPTH = "depth() of the queue in Redis"


class Cell(msgspec.Struct, frozen=True):
    """A backlog and the history behind it."""

    waiting: int
    finished: int
    #: Whose events wait.
    providers: int = 1

    def text(self, end: str = ", ") -> str:
        """As tables and messages name it, with ``end`` in between."""
        many = f"{end}{self.providers:,} providers" if self.providers > 1 else ""
        return f"{self.waiting:,} wait{end}{self.finished:,} finished{many}"


class Sizes(msgspec.Struct, frozen=True):
    """How much waits and is finished, how often each verb runs in a round, and how many rounds there are."""

    waiting: tuple[int, ...]
    finished: tuple[int, ...]
    rounds: int
    repeats: int
    warm_up: int
    #: Of one more cell, which is the first one but for them.
    providers: int

    @property
    def cells(self) -> list[Cell]:
        """Each backlog behind each history, the smallest first; the smallest with many providers, last."""
        cells = [Cell(waiting, finished) for finished in self.finished for waiting in self.waiting]
        return [*cells, msgspec.structs.replace(cells[0], providers=self.providers)]

    @property
    def claimed(self) -> int:
        """Events that leave the backlog in a round."""
        return claimed(self.repeats, self.warm_up)


NORMAL = Sizes(
    waiting=(10_000, 100_000, 1_000_000), finished=(0,), rounds=5, repeats=15, warm_up=6, providers=1_000
)
FULL = msgspec.structs.replace(NORMAL, finished=(0, 5_000_000))
QUICK = Sizes(waiting=(600, 900), finished=(0, 500), rounds=1, repeats=2, warm_up=1, providers=7)


class Backlog(msgspec.Struct, frozen=True):
    """One database. ``rounds`` holds a round of each cell, in their order."""

    database: str
    cells: tuple[Cell, ...]
    rounds: tuple[tuple[Round, ...], ...]


class BacklogSuite:
    """Every cell is a database of its own, so that they can take turns."""

    def __init__(self, ground: Ground, folder: Path, sizes: Sizes, say: Callable[[str], None]) -> None:
        """``folder``: where files of SQLite are."""
        self._ground = ground
        self._places: dict[str, Place] = {POSTGRESQL: OnServer(ground), SQLITE: OnFiles(folder)}
        self._sizes = sizes
        self._say = say

    def everything(self) -> list[Backlog]:
        """One database after the other, so that their files need not be there at once."""
        return [*(self._on(name, place) for name, place in self._places.items()), self._in_redis()]

    def _on(self, database: str, place: Place) -> Backlog:
        histories = {count: self._history(database, place, count) for count in self._sizes.finished}
        rows = {
            cell: self._make(database, place, cell, histories[cell.finished]) for cell in self._sizes.cells
        }
        turns = {cell: partial(self._round, database, cell, own) for cell, own in rows.items()}
        rounds = take_turns(self._sizes.rounds, turns)
        for url in (*histories.values(), *(own.url for own in rows.values())):
            place.drop(url)
        return Backlog(database, tuple(rows), tuple(tuple(done.values()) for done in rounds))

    def _history(self, database: str, place: Place, finished: int) -> str:
        """A database with so many finished events, for copies."""
        began = time.perf_counter()
        url = place.new(f"history_{finished}")
        self._rows(url, Cell(0, finished)).finish(finished)
        place.rest(url)
        self._say(f"{database}, {finished:,} finished: made in {time.perf_counter() - began:.0f} s")
        return url

    def _make(self, database: str, place: Place, cell: Cell, history: str) -> Rows:
        """A database with the rows of a cell; 50 more of them wait, which stay in work from the first round on."""
        began = time.perf_counter()
        rows = self._rows(
            place.copy(f"backlog_{cell.waiting}_{cell.finished}_{cell.providers}", history), cell
        )
        rows.wait(cell.waiting + FIFTY)
        place.rest(rows.url)
        self._say(f"{database}, {cell.text()}: made in {time.perf_counter() - began:.0f} s")
        return rows

    def _rows(self, url: str, cell: Cell) -> Rows:
        most = max(self._sizes.waiting) + FIFTY + self._sizes.rounds * self._sizes.claimed
        return Rows(url, SystemClock().now(), most, cell.providers)

    def _round(self, database: str, cell: Cell, rows: Rows, number: int) -> Round:
        if number:
            rows.wait(self._sizes.claimed)
        done = measure(rows.url, self._sizes.repeats, self._sizes.warm_up)
        left = rows.waiting - (number + 1) * self._sizes.claimed
        with looking(rows.url) as look:
            look.expect({"SELECT count(*) FROM inbox_events WHERE state IN ('RECEIVED', 'RETRYING')": left})
        self._say(
            f"{database}, {cell.text()}, round {number + 1}: claim {done.milliseconds[CLAIM]:.2f} ms,"
            f" {done.pages[CLAIM]} pages"
        )
        return done

    def _in_redis(self) -> Backlog:
        """How many announcements wait, asked of a list of so many."""
        cells = tuple(Cell(waiting, 0) for waiting in self._sizes.waiting)
        turns = {cell: partial(self._depth, cell) for cell in cells}
        rounds = take_turns(self._sizes.rounds, turns)
        return Backlog("redis", cells, tuple(tuple(done.values()) for done in rounds))

    def _depth(self, cell: Cell, number: int) -> Round:
        del number
        self._ground.announce(None)
        self._ground.fill(cell.waiting)
        milliseconds = asyncio.run(_time_depth(self._ground.redis.url(), cell.waiting, self._sizes.repeats))
        return Round({DEPTH: milliseconds}, {}, cell.waiting)


async def _time_depth(url: str, expected: int, repeats: int) -> float:
    queue, watch = RedisQueue(url), Stopwatch()
    await queue.start()
    try:
        async with asyncio.timeout(10):
            while await queue.depth() is None:  # noqa: ASYNC110 - it connects in the background
                await asyncio.sleep(0.01)
        for _ in range(repeats):
            if (depth := await watch.time(DEPTH, queue.depth())) != expected:
                raise BenchError(f"the queue in Redis says {depth}, expected {expected}")
    finally:
        await queue.close()
    return watch.medians()[DEPTH]
