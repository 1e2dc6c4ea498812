"""The deadline of a handler behaves as ``asyncio.timeout`` does."""

from __future__ import annotations

import asyncio

import pytest

from surehook.work.deadline import Deadline

FOR_EVER = 3600


async def test_it_cancels_and_tells_a_timeout() -> None:
    deadline = Deadline(0)
    with pytest.raises(TimeoutError), deadline:
        await asyncio.Event().wait()
    assert deadline.over
    assert not deadline.ended
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_is_in_time_is_left_alone() -> None:
    with Deadline(FOR_EVER) as deadline:
        await asyncio.sleep(0)
    deadline.end()  # too late: nobody is inside
    await asyncio.sleep(0)
    assert deadline.ended
    assert not deadline.over


async def test_somebody_can_end_it() -> None:
    deadline = Deadline(FOR_EVER)
    asyncio.get_running_loop().call_soon(deadline.end)
    with pytest.raises(TimeoutError), deadline:
        await asyncio.Event().wait()
    assert deadline.ended
    assert deadline.over


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    inside = asyncio.Event()

    async def work() -> None:
        with Deadline(FOR_EVER):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_at_the_same_time_wins() -> None:
    inside: list[Deadline] = []

    async def work() -> None:
        with Deadline(FOR_EVER) as deadline:
            inside.append(deadline)
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    inside[0].end()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_handler_passes() -> None:
    with pytest.raises(KeyError), Deadline(FOR_EVER):
        raise KeyError("theirs")
