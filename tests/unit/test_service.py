"""The loop that every background duty runs in."""

from __future__ import annotations

import asyncio
import logging

import pytest

from surehook.service import Duty, Service

NEVER = 3_600_000


class Counting:
    """A duty that counts its runs, can be held in one, and can fail."""

    def __init__(self) -> None:
        self.runs = 0
        self.running = 0
        self.most = 0
        self.cancelled = False
        self.errors: list[Exception] = []
        self.free = asyncio.Event()
        self.free.set()
        self._changed = asyncio.Condition()

    async def run_once(self) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        self.runs += 1
        async with self._changed:
            self._changed.notify_all()
        try:
            await self.free.wait()
            if self.errors:
                raise self.errors.pop()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        finally:
            self.running -= 1

    async def reached(self, runs: int) -> None:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: self.runs >= runs)


async def test_a_duty_runs_at_once_and_then_at_every_interval() -> None:
    duty = Counting()
    service = Service([Duty("count", duty.run_once, 5)])
    service.start()
    await duty.reached(4)
    await service.stop()
    assert duty.most == 1


async def test_nothing_runs_after_stop() -> None:
    duty = Counting()
    service = Service([Duty("count", duty.run_once, 1)])
    service.start()
    await duty.reached(2)
    await service.stop()
    runs = duty.runs
    service.wake("count")
    await asyncio.sleep(0)
    await service.stop()
    assert duty.runs == runs


async def test_waking_runs_a_duty_before_its_interval_is_over() -> None:
    duty, other = Counting(), Counting()
    service = Service([Duty("count", duty.run_once, NEVER), Duty("other", other.run_once, NEVER)])
    service.start()
    await duty.reached(1)
    await other.reached(1)
    service.wake("count")
    await duty.reached(2)
    await service.stop()
    assert other.runs == 1


async def test_waking_during_a_run_leads_to_one_more_and_never_to_two_at_once() -> None:
    duty = Counting()
    duty.free.clear()
    service = Service([Duty("count", duty.run_once, NEVER)])
    service.start()
    await duty.reached(1)
    for _ in range(3):
        service.wake()
    duty.free.set()
    await duty.reached(2)
    await service.stop()
    assert (duty.runs, duty.most) == (2, 1)


async def test_a_run_that_fails_is_logged_and_the_loop_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    duty = Counting()
    duty.errors.append(RuntimeError("the disk is full"))
    service = Service([Duty("count", duty.run_once, 1)])
    with caplog.at_level(logging.ERROR, "surehook.service"):
        service.start()
        await duty.reached(2)
        await service.stop()
    [record] = caplog.records
    assert record.getMessage() == "count failed; it runs again"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], RuntimeError)


async def test_stop_waits_for_the_run_in_progress() -> None:
    duty = Counting()
    duty.free.clear()
    service = Service([Duty("count", duty.run_once, 1)])
    service.start()
    await duty.reached(1)
    stopping = asyncio.create_task(service.stop())
    await asyncio.sleep(0)
    assert not stopping.done()
    duty.free.set()
    await stopping
    assert not duty.cancelled


async def test_stop_cancels_a_run_that_does_not_end() -> None:
    duty = Counting()
    duty.free.clear()
    service = Service([Duty("count", duty.run_once, 1)])
    service.start()
    await duty.reached(1)
    await service.stop(patience_ms=10)
    assert duty.cancelled


async def test_a_service_starts_once_and_can_stop_without_having_started() -> None:
    service = Service([])
    await service.stop()
    with pytest.raises(RuntimeError):
        service.start()


async def test_waking_an_unknown_duty_is_an_error() -> None:
    with pytest.raises(KeyError):
        Service([]).wake("sweep")
