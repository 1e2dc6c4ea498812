"""One timer for many deadlines, with the meaning of ``asyncio.timeout``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from surehook.deadlines import Deadlines

NEVER = 3_600


async def hang(deadlines: Deadlines) -> None:
    with deadlines.begin():
        await asyncio.Event().wait()


async def test_who_is_inside_when_the_time_is_over_gets_a_timeout() -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(TimeoutError):
        await hang(Deadlines(0.02))
    assert loop.time() - began >= 0.018
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_who_has_left_in_time_gets_none() -> None:
    deadlines = Deadlines(0.01)
    with deadlines.begin() as deadline:
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await hang(deadlines)  # until the time of the first one is over as well
    assert deadline.at > 0


async def test_each_expires_at_its_own_time() -> None:
    deadlines = Deadlines(0.02)
    ended: list[int] = []

    async def late(number: int) -> None:
        await asyncio.sleep(number * 0.01)
        try:
            await hang(deadlines)
        except TimeoutError:
            ended.append(number)

    await asyncio.gather(*map(late, range(4)))
    assert ended == [0, 1, 2, 3]


async def test_an_error_inside_passes() -> None:
    deadlines = Deadlines(NEVER)
    with pytest.raises(ValueError, match="a bug"), deadlines.begin():
        raise ValueError("a bug")
    deadlines.close()


async def test_a_cancellation_from_outside_stays_one() -> None:
    deadlines = Deadlines(0.01)
    task = asyncio.create_task(hang(deadlines))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_that_comes_with_the_timeout_wins() -> None:
    deadlines = Deadlines(NEVER)

    async def both() -> None:
        with deadlines.begin() as deadline:
            deadline.expire()
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.Event().wait()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.create_task(both())
    deadlines.close()


async def test_a_thousand_blocks_share_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    timers: list[asyncio.TimerHandle] = []
    real = loop.call_at

    def call_at(when: float, callback: Callable[..., Any], *given: Any, **named: Any) -> asyncio.TimerHandle:
        timers.append(real(when, callback, *given, **named))
        return timers[-1]

    monkeypatch.setattr(loop, "call_at", call_at)
    deadlines = Deadlines(NEVER)
    for _ in range(1000):
        with deadlines.begin():
            pass
    assert len(timers) == 1
    deadlines.close()
    assert timers[0].cancelled()


async def test_somebody_can_end_one_before_its_time() -> None:
    deadlines = Deadlines(NEVER)
    deadline = deadlines.begin()
    asyncio.get_running_loop().call_soon(deadline.end)
    with pytest.raises(TimeoutError), deadline:
        await asyncio.Event().wait()
    assert deadline.ended
    assert deadline.expired
    deadlines.close()


async def test_what_is_ended_too_late_leaves_the_task_alone() -> None:
    deadlines = Deadlines(NEVER)
    with deadlines.begin() as deadline:
        await asyncio.sleep(0)
    deadline.end()
    await asyncio.sleep(0)
    assert deadline.ended
    assert not deadline.expired
    deadlines.close()
