"""The queue seam's specification as tests: every queue passes this file unchanged. What can break it: test_queue_faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest

from surehook.ids import EventId
from surehook.queue import Queue
from surehook.queue.database import DatabaseQueue
from surehook.queue.notify import NotifyingQueue
from surehook.queue.redis import RedisQueue
from tests.contract.queues import AMPLE, Site, collect, ended, ids, unique_prefix
from tests.scenario.waiting import wait_until
from tests.services import PostgresServer, RedisServer

#: Longer than any test may take.
FOR_EVER = 3_600.0


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[PostgresServer]:
    with PostgresServer(in_memory=True) as server:
        yield server


def site_of(kind: str, request: pytest.FixtureRequest) -> Site:
    prefix = unique_prefix()
    if kind == "database":
        return Site(DatabaseQueue, across=False, names=False)
    if kind == "notify":
        url = request.getfixturevalue("postgres_server").url()
        return Site(lambda: NotifyingQueue(url, prefix=prefix), across=True, names=False)
    url = request.getfixturevalue("redis_server").url()
    return Site(lambda: RedisQueue(url, prefix=prefix), across=True, names=True)


@pytest.fixture(params=["database", "notify", "redis"])
async def site(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """Every kind of queue."""
    site = site_of(request.param, request)
    yield site
    await site.close()


@pytest.fixture(params=["notify", "redis"])
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    """The kinds that reach other processes."""
    site = site_of(request.param, request)
    yield site
    await site.close()


async def test_an_announcement_ends_a_wait(site: Site) -> None:
    queue, _ = await site.linked()
    [id] = ids(1)
    call = asyncio.create_task(queue.next(10, FOR_EVER))
    await asyncio.sleep(0)
    queue.announce([id])
    assert await ended(call) == ([id] if site.names else None)


async def test_an_announcement_that_came_before_the_call_counts(site: Site) -> None:
    queue, _ = await site.linked()
    [id] = ids(1)
    queue.announce([id])
    call = asyncio.create_task(queue.next(10, FOR_EVER))
    assert await ended(call) == ([id] if site.names else None)


async def test_without_an_announcement_the_answer_is_to_ask_the_database(site: Site) -> None:
    queue, _ = await site.linked()
    for wait in (0.05, 0.001, 0):
        async with asyncio.timeout(AMPLE):
            assert await queue.next(10, wait) is None


async def test_a_longer_wait_than_any_single_command(site: Site) -> None:
    queue, _ = await site.linked()
    begun = asyncio.get_running_loop().time()
    assert await queue.next(10, 1.5) is None
    assert asyncio.get_running_loop().time() - begun >= 1.49


async def test_nothing_is_announced_by_no_ids(site: Site) -> None:
    queue, _ = await site.linked()
    begun = asyncio.get_running_loop().time()
    queue.announce([])
    assert await queue.next(10, 0.2) is None
    assert asyncio.get_running_loop().time() - begun >= 0.19


async def test_no_more_than_the_limit(site: Site) -> None:
    queue, _ = await site.linked()
    announced = ids(25)
    queue.announce(announced)
    if not site.names:
        assert await queue.next(10, FOR_EVER) is None
        return
    found: list[EventId] = []
    while len(found) < len(announced):
        got = await queue.next(10, AMPLE)
        assert got is not None
        assert 0 < len(got) <= 10
        found += got
    assert found == announced


async def test_no_wait_finds_what_is_there(site: Site) -> None:
    queue, _ = await site.linked()
    [id] = ids(1)
    queue.announce([id])
    if site.names:
        await wait_until(queue.depth, "the id is in the list", within=AMPLE)
    assert await queue.next(10, 0) == ([id] if site.names else None)


async def test_the_end_of_the_queue_ends_waiting_calls(site: Site) -> None:
    queue, _ = await site.linked()
    calls = [asyncio.create_task(queue.next(10, FOR_EVER)) for _ in range(3)]
    await asyncio.sleep(0)
    await queue.close()
    assert [await ended(call) for call in calls] == [None, None, None]
    assert await queue.next(10, FOR_EVER) is None
    queue.announce(ids(1))
    queue.announce_messages(frozenset({"ledger"}))
    assert await queue.next(10, FOR_EVER) is None


async def test_a_queue_can_be_closed_that_was_never_started(site: Site) -> None:
    queue = site.make()
    queue.announce(ids(1))
    await queue.close()
    assert await queue.next(10, FOR_EVER) is None


async def test_calls_at_the_same_time_each_end(site: Site) -> None:
    queue, _ = await site.linked()
    calls = [asyncio.create_task(queue.next(10, 0.2)) for _ in range(5)]
    assert [await ended(call) for call in calls] == [None] * 5


async def test_messages_wake_the_publishers_of_the_same_process_at_once(site: Site) -> None:
    queue, heard = await site.linked()
    queue.announce_messages(frozenset({"ledger", "audit"}))
    queue.announce_messages(frozenset())
    assert heard == [{"ledger", "audit"}, frozenset()]


async def test_a_callback_that_fails_hinders_nobody(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    queue, heard = await site.linked()

    def broken(_: frozenset[str]) -> None:
        raise RuntimeError("no such publisher")

    for callback in (broken, heard.append):
        queue.on_messages(callback)
    queue.announce_messages(frozenset({"ledger"}))
    assert heard == [{"ledger"}, {"ledger"}]
    assert "a publisher could not be woken" in caplog.text


async def test_depth_is_what_waits(site: Site) -> None:
    queue, _ = await site.linked()
    queue.announce(ids(7))
    if site.names:
        assert await wait_until(queue.depth, "the ids are in the list", within=AMPLE) == 7
        await collect(queue, 7)
        assert await queue.depth() == 0
    else:
        assert await queue.depth() is None


async def test_an_announcement_reaches_another_process(shared: Site) -> None:
    one, _ = await shared.linked()
    other, _ = await shared.linked()
    for _ in range(20):
        [id] = ids(1)
        call = asyncio.create_task(other.next(10, FOR_EVER))
        await asyncio.sleep(0)
        one.announce([id])
        assert await ended(call) == ([id] if shared.names else None)


async def test_messages_wake_the_publishers_of_other_processes_and_nobody_twice(shared: Site) -> None:
    one, heard_by_one = await shared.linked()
    other, heard_by_other = await shared.linked()
    one.announce_messages(frozenset({"ledger"}))
    await wait_until(lambda: heard_by_other == [{"ledger"}], "the other hears", within=AMPLE)
    # by the time that this has come all the way back, its own has long been seen
    other.announce_messages(frozenset({"audit", "mail"}))
    await wait_until(lambda: {"audit", "mail"} in heard_by_one, "the one hears", within=AMPLE)
    assert heard_by_one == [{"ledger"}, {"audit", "mail"}]
    assert heard_by_other == [{"ledger"}, {"audit", "mail"}]


async def test_more_destinations_than_fit_reach_all(shared: Site) -> None:
    one, _ = await shared.linked()
    _, heard = await shared.linked()
    many = frozenset(f"destination-{number}-{'x' * 40}" for number in range(300))
    one.announce_messages(many)
    await wait_until(lambda: heard in ([many], [frozenset()]), "all are woken", within=AMPLE)


async def test_announcements_that_come_together_are_told_together(shared: Site) -> None:
    one, _ = await shared.linked()
    _, heard = await shared.linked()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    for number in range(500):
        one.announce_messages(frozenset({f"destination{number}"}))
        await asyncio.sleep(0.0005)
    await wait_until(lambda: {"destination499"} <= frozenset().union(*heard), "the last", within=AMPLE)
    assert frozenset().union(*heard) == {f"destination{number}" for number in range(500)}
    # one at once, then one after each gap: NOTIFY is dear, PUBLISH is not
    gap = 0.002 if shared.names else 0.01
    assert len(heard) <= (loop.time() - begun) / gap + 2
    assert len(heard) < 400


async def test_two_processes_share_the_work(shared: Site) -> None:
    """Every waiting call is woken; where ids are given, each is given to somebody and to nobody else."""
    queues = [(await shared.linked())[0] for _ in range(2)]
    announced = ids(4_000)
    found: list[EventId] = []
    woken: set[int] = set()

    async def announce(queue: Queue, part: Sequence[EventId]) -> None:
        for begin in range(0, len(part), 7):
            queue.announce(part[begin : begin + 7])
            await asyncio.sleep(0)

    async def consume(number: int) -> None:
        while True:
            found.extend(await queues[number % 2].next(60, FOR_EVER) or ())
            woken.add(number)

    consumers = [asyncio.create_task(consume(number)) for number in range(4)]
    await asyncio.gather(*(announce(queues[n % 2], announced[n * 1_000 : (n + 1) * 1_000]) for n in range(4)))
    wanted = len(announced) if shared.names else 0
    await wait_until(lambda: len(found) >= wanted, "all ids are given out", within=AMPLE)
    await wait_until(lambda: woken == {0, 1, 2, 3}, "everybody is woken", within=AMPLE)
    for consumer in consumers:
        consumer.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)
    assert sorted(found) == sorted(announced)[-wanted:] * bool(wanted)


async def test_what_was_announced_is_told_before_the_end(shared: Site) -> None:
    one, _ = await shared.linked()
    other, heard = await shared.linked()
    [id] = ids(1)
    call = asyncio.create_task(other.next(10, FOR_EVER))
    one.announce([id])
    one.announce_messages(frozenset({"ledger"}))
    await one.close()
    assert await ended(call) == ([id] if shared.names else None)
    await wait_until(lambda: heard == [{"ledger"}], "the other hears", within=AMPLE)


async def test_nobody_is_woken_for_nothing(shared: Site) -> None:
    queue, heard = await shared.linked()
    call = asyncio.create_task(queue.next(10, FOR_EVER))
    done, _ = await asyncio.wait([call], timeout=0.5)
    assert not done
    assert not heard
    queue.announce(ids(1))
    await ended(call)
