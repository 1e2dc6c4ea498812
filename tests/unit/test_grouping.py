"""Group commit: batching, isolation of a guilty item, bounds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from surehook.errors import Overloaded, Unavailable
from surehook.grouping import GroupCommit


class Sink:
    """A flush that waits to be let go and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()

    async def flush(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        await self.open.wait()
        if 13 in items:
            raise ValueError("unlucky")
        if 99 in items:
            raise Unavailable("no disk")
        return [item * 2 for item in items]


async def started(sink: Sink, group: GroupCommit[int, int], *items: int) -> list[asyncio.Task[int]]:
    """Put items one after another while the first flush is held."""
    tasks = []
    for item in items:
        tasks.append(asyncio.create_task(group.put(item)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    return tasks


async def test_what_arrives_during_a_flush_is_the_next_batch() -> None:
    sink = Sink()
    group = GroupCommit(sink.flush)
    tasks = await started(sink, group, 1, 2, 3)
    sink.open.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6]
    assert sink.batches == [[1], [2, 3]]


async def test_a_batch_is_bounded() -> None:
    sink = Sink()
    sink.open.set()
    group = GroupCommit(sink.flush, batch=4)
    assert await asyncio.gather(*map(group.put, range(10))) == [item * 2 for item in range(10)]
    assert max(map(len, sink.batches)) == 4


async def test_a_guilty_item_fails_alone() -> None:
    sink = Sink()
    group = GroupCommit(sink.flush)
    tasks = await started(sink, group, 1, 12, 13, 14)
    sink.open.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [results[0], results[1], results[3]] == [2, 24, 28]
    assert isinstance(results[2], ValueError)


async def test_an_unavailable_database_fails_everyone_at_once() -> None:
    sink = Sink()
    group = GroupCommit(sink.flush, batch=2)
    tasks = await started(sink, group, 1, 98, 99, 100)
    sink.open.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [int, Unavailable, Unavailable, Unavailable]
    assert sink.batches == [[1], [98, 99]]


async def test_past_the_bound_nothing_is_taken() -> None:
    sink = Sink()
    group = GroupCommit(sink.flush, waiting=2)
    tasks = await started(sink, group, 1, 2, 3)
    with pytest.raises(Overloaded, match="send again later"):
        await group.put(4)
    sink.open.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6]


async def test_a_cancelled_caller_does_not_stop_the_flush() -> None:
    sink = Sink()
    group = GroupCommit(sink.flush)
    first, second = await started(sink, group, 1, 2)
    first.cancel()
    sink.open.set()
    assert await second == 4
    await group.drain()
    assert sink.batches == [[1], [2]]


async def test_a_callback_is_told_the_result_or_the_error_once() -> None:
    sink, told = Sink(), list[int | Exception]()
    group = GroupCommit(sink.flush, waiting=1)
    group.submit(1, told.append)
    await asyncio.sleep(0)  # it is in flight now, and waits no more
    group.submit(99, told.append)
    group.submit(2, told.append)
    assert [str(each) for each in told] == ["1 items wait for the database already: send again later"]
    sink.open.set()
    await group.drain()
    assert told[1] == 2
    assert str(told[2]) == "no disk"
    assert len(told) == 3
