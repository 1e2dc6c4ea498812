"""What may happen to the servers behind the queues, and that nobody notices more than a delay."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
import redis

from surehook.ids import EventId
from surehook.queue import Queue
from surehook.queue.notify import NotifyingQueue
from surehook.queue.redis import RedisQueue
from surehook.queue.redis_push import ENOUGH, MAX_LENGTH, MAX_WAITING
from tests.contract.queues import (
    AMPLE,
    Site,
    collect,
    ended,
    ids,
    lines,
    reaches,
    relay,
    told_more_than_info,
    unique_prefix,
)
from tests.scenario.waiting import wait_until
from tests.services import Pgbouncer, PostgresServer, RedisServer, Service

FOR_EVER = 3_600.0
PREFIX = "faults"
KEY = f"{PREFIX}:due"


@pytest.fixture(autouse=True)
def all_lines(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="surehook")


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as client:
        yield client


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with PostgresServer(in_memory=True) as server:
        yield server


@pytest.fixture
def postgres_server(postgres: PostgresServer) -> Iterator[PostgresServer]:
    """The module's server, in good order again after the test."""
    yield postgres
    if not postgres.running:
        postgres.start()


@pytest.fixture
async def redis_site(redis_server: RedisServer) -> AsyncIterator[Site]:
    site = Site(lambda: RedisQueue(redis_server.url(), prefix=PREFIX), across=True, names=True)
    yield site
    await site.close()


@pytest.fixture
async def notify_site(postgres_server: PostgresServer) -> AsyncIterator[Site]:
    prefix = unique_prefix()
    site = Site(
        lambda: NotifyingQueue(postgres_server.url(), prefix=prefix, probe=0.3, patience=1.0),
        across=True,
        names=False,
    )
    yield site
    await site.close()


@pytest.fixture(params=["notify", "redis"])
def pair(request: pytest.FixtureRequest) -> tuple[Site, Service]:
    """A site and the server that it rests on."""
    kind = {"notify": "postgres", "redis": "redis"}[request.param]
    return request.getfixturevalue(f"{request.param}_site"), request.getfixturevalue(f"{kind}_server")


@asynccontextmanager
async def paused(server: Service) -> AsyncIterator[None]:
    await asyncio.to_thread(server.pause)
    try:
        yield
    finally:
        await asyncio.to_thread(server.resume)


async def polls(queue: Queue) -> None:
    """Announcing neither fails nor waits, and a call ends soon, without an id."""
    async with asyncio.timeout(AMPLE):
        queue.announce(ids(3))
        queue.announce_messages(frozenset({"ledger"}))
        for wait in (0.05, 0, 0.3):
            assert await queue.next(10, wait) is None


async def messages_reach(sender: Queue, heard: list[frozenset[str]]) -> None:
    async def announced() -> bool:
        sender.announce_messages(frozenset({"after"}))
        return {"after"} in heard

    await wait_until(announced, "an announcement of messages arrives", within=AMPLE, pause=0.1)


async def works_again(site: Site, sender: Queue, receiver: Queue, heard: list[frozenset[str]]) -> None:
    await messages_reach(sender, heard)
    await reaches(sender, receiver, site.names)


# All queues that need a server


async def test_a_queue_starts_without_its_server_and_finds_it_later(
    pair: tuple[Site, Service], caplog: pytest.LogCaptureFixture
) -> None:
    site, server = pair
    await asyncio.to_thread(server.kill)
    one, _ = await site.start()
    other, heard = await site.start()
    await polls(one)
    await polls(other)
    await asyncio.to_thread(server.start)
    await works_again(site, one, other, heard)
    assert len(lines(caplog, "queue.failing")) == 2, "one line for each process"
    assert len(lines(caplog, "queue.recovered")) == 2


async def test_a_killed_server_comes_back_empty(
    pair: tuple[Site, Service], caplog: pytest.LogCaptureFixture
) -> None:
    site, server = pair
    one, _ = await site.linked()
    other, heard = await site.linked()
    waiting = asyncio.create_task(other.next(10, FOR_EVER))
    await asyncio.to_thread(server.kill)
    await wait_until(lambda: len(lines(caplog, "queue.failing")) == 2, "both notice", within=AMPLE)
    await polls(one)
    await asyncio.to_thread(server.start)
    assert await ended(waiting) is None, "after an outage, everybody asks the database once"
    await wait_until(lambda: frozenset[str]() in heard, "publishers do, too", within=AMPLE)
    await works_again(site, one, other, heard)
    assert len(lines(caplog, "queue.failing")) == 2
    assert len(lines(caplog, "queue.recovered")) == 2


async def test_a_server_that_hangs(pair: tuple[Site, Service], caplog: pytest.LogCaptureFixture) -> None:
    site, server = pair
    one, _ = await site.linked()
    other, heard = await site.linked()
    async with paused(server):
        await polls(one)
        await polls(other)
        await wait_until(lambda: len(lines(caplog, "queue.failing")) == 2, "both notice", within=AMPLE)
        await polls(one)
    await works_again(site, one, other, heard)
    assert len(lines(caplog, "queue.failing")) == 2
    assert len(lines(caplog, "queue.recovered")) == 2


async def test_the_end_of_a_queue_does_not_wait_for_a_server_that_hangs(pair: tuple[Site, Service]) -> None:
    site, server = pair
    queues = [(await site.linked())[0], (await site.start())[0]]
    waiting = [asyncio.create_task(queue.next(10, FOR_EVER)) for queue in queues]
    async with paused(server):
        for queue in queues:
            queue.announce(ids(1))
            async with asyncio.timeout(AMPLE):
                await queue.close()
        assert [await ended(call) for call in waiting] == [None, None]


@pytest.mark.parametrize("kind", ["notify", "redis"])
async def test_a_line_that_goes_dead_without_a_word(
    kind: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    server: Service = request.getfixturevalue({"notify": "postgres", "redis": "redis"}[kind] + "_server")
    async with relay(server.port) as line:
        url = server.url().replace(str(server.port), str(line.port))  # type: ignore[attr-defined]  # both have one
        prefix = unique_prefix()
        site = Site(
            lambda: (
                NotifyingQueue(url, prefix=prefix, probe=0.3, patience=1.0)
                if kind == "notify"
                else RedisQueue(url, prefix=prefix, probe=0.3)
            ),
            across=True,
            names=kind == "redis",
        )
        one, _ = await site.linked()
        other, heard = await site.linked()
        before = line.opened
        line.go_dead()
        await works_again(site, one, other, heard)
        assert line.opened > before
        assert lines(caplog, "queue.failing")
        await site.close()


# Redis


async def test_redis_is_emptied(
    redis_site: Site, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    one, _ = await redis_site.linked()
    other, heard = await redis_site.linked()
    one.announce(ids(100))
    await wait_until(one.depth, "the ids are in the list", within=AMPLE)
    await asyncio.to_thread(redis_server.flush)
    assert await other.next(10, 0) is None
    await works_again(redis_site, one, other, heard)
    assert not told_more_than_info(caplog)


async def test_redis_is_full(
    redis_site: Site, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    one, _ = await redis_site.linked()
    other, heard = await redis_site.linked()
    await asyncio.to_thread(redis_server.config_set, maxmemory="1mb")
    await polls(one)
    await wait_until(lambda: lines(caplog, "queue.failing"), "it is said", within=AMPLE)
    assert "maxmemory" in lines(caplog, "queue.failing")[0]
    await polls(one)
    await messages_reach(one, heard)
    await asyncio.to_thread(redis_server.config_set, maxmemory="0")
    await works_again(redis_site, one, other, heard)
    await wait_until(lambda: lines(caplog, "queue.recovered"), "that is said, too", within=AMPLE)
    assert len(lines(caplog, "queue.failing")) == 1


async def test_another_type_has_the_name_of_the_list(
    redis_site: Site, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client.set(KEY, "something of somebody else's")
    one, _ = await redis_site.linked()
    other, heard = await redis_site.linked()
    assert await other.next(10, 0.05) is None
    await polls(one)
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert errors
    assert all("DEL it or choose another prefix" in error for error in errors)
    assert await one.depth() is None
    client.delete(KEY)
    await works_again(redis_site, one, other, heard)


async def test_garbage_in_the_list_harms_nobody(
    redis_site: Site, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    queue, _ = await redis_site.linked()
    first, second = ids(2)
    garbage = [b"", b"15 bytes are no.", first[:-1], b"x" * 1_000_000, b'{"id": 1}', "ä".encode() * 40]
    garbage = [entry for entry in garbage if len(entry) != 16]
    for entries in ([*garbage, first, *garbage], [first, second, second, *garbage]):
        client.rpush(KEY, *entries)
        assert await queue.next(100, AMPLE) == list(dict.fromkeys(e for e in entries if e in (first, second)))
    client.rpush(KEY, *garbage)
    assert await queue.next(100, 0) is None
    client.rpush(KEY, *garbage)
    assert await queue.next(100, 0.05) is None
    assert await queue.depth() == 0
    assert lines(caplog, "queue.garbage") == [
        f"{2 * len(garbage)} entries of the list '{KEY}' in Redis were no ids and were dropped"
    ]


async def test_garbage_in_the_channel_harms_nobody(redis_site: Site, client: redis.Redis) -> None:
    one, _ = await redis_site.linked()
    _, heard = await redis_site.linked()
    for payload in (b"", b"\xff\xfe\n\xff", b"\n\n\n", b"x\n" + b"y" * 1_000_000):
        client.publish(f"{PREFIX}:messages", payload)
    await messages_reach(one, heard)


async def test_the_primary_becomes_a_replica(
    redis_site: Site, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    one, _ = await redis_site.linked()
    other, heard = await redis_site.linked()
    waiting = asyncio.create_task(other.next(10, FOR_EVER))
    client.replicaof("127.0.0.1", "1")
    await polls(one)
    await wait_until(
        lambda: "read-only replica" in caplog.text or "read only replica" in caplog.text,
        "it is said",
        within=AMPLE,
    )
    await polls(one)
    client.replicaof("NO", "ONE")
    assert await ended(waiting) is None
    await works_again(redis_site, one, other, heard)


async def test_a_password_is_set_and_taken_back(
    redis_site: Site, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    one, _ = await redis_site.linked()
    other, heard = await redis_site.linked()
    client.config_set("requirepass", "geheim")
    client.client_kill_filter(_type="normal", skipme=True)
    client.client_kill_filter(_type="pubsub")
    await wait_until(lambda: len(lines(caplog, "queue.failing")) == 2, "both notice", within=AMPLE)
    await polls(one)
    client.config_set("requirepass", "")
    await works_again(redis_site, one, other, heard)
    assert len(lines(caplog, "queue.failing")) == 2


async def test_a_wrong_password_is_named_as_the_reason(
    redis_server: RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    client.config_set("requirepass", "geheim")
    queue = RedisQueue(redis_server.url().replace("redis://", "redis://:falsch@"), prefix=PREFIX)
    await queue.start()
    await wait_until(lambda: lines(caplog, "queue.failing"), "it is said", within=AMPLE)
    await polls(queue)
    await queue.close()
    assert "the password in the queue's URL" in caplog.text
    assert "falsch" not in caplog.text


@pytest.mark.parametrize(
    "fewer",
    [{"commands": ["-info"]}, {"categories": ["-@dangerous"]}, {"reset_channels": True}],
    ids=["info", "dangerous", "channels"],
)
async def test_rights_that_are_missing_leave_the_rest_working(
    redis_site: Site, client: redis.Redis, fewer: dict[str, Any]
) -> None:
    client.acl_setuser("default", enabled=True, **fewer)
    one, _ = await redis_site.start()
    other, _ = await redis_site.start()
    one.announce_messages(frozenset({"ledger"}))
    await reaches(one, other, names=True)


async def test_a_redis_without_blmpop(redis_server: RedisServer) -> None:
    """Before 7.0 it has none. Here a newer one has been told to have none."""
    rules = redis_server.folder / "rules.conf"
    rules.write_text('rename-command BLMPOP ""\n')
    rules.chmod(0o644)
    with RedisServer({"include": str(rules)}) as older:
        site = Site(lambda: RedisQueue(older.url(), prefix=PREFIX), across=True, names=True)
        one, _ = await site.linked()
        other, _ = await site.linked()
        for limit in (10, 1):
            assert await other.next(limit, 0.05) is None
            call = asyncio.create_task(other.next(limit, FOR_EVER))
            await wait_until(lambda: _somebody_waits(older), "the call blocks in Redis", within=AMPLE)
            announced = ids(25)
            one.announce(announced)
            found = list(await ended(call) or ())
            assert found == announced[:limit]
            assert await collect(other, 25 - limit) == announced[limit:]
        await site.close()


def _somebody_waits(server: RedisServer) -> bool:
    with server.client() as client:
        return int(client.info("clients")["blocked_clients"]) > 0


@pytest.mark.parametrize(("policy", "warned"), [("allkeys-lru", 1), ("volatile-lru", 0), ("noeviction", 0)])
async def test_a_redis_that_would_evict_the_list_is_warned_of(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture, policy: str, warned: int
) -> None:
    await asyncio.to_thread(redis_server.config_set, maxmemory="100mb", policy=policy)
    site = Site(lambda: RedisQueue(redis_server.url(), prefix=PREFIX), across=True, names=True)
    await site.linked()
    await site.close()
    assert len(lines(caplog, "queue.eviction")) == warned


async def test_the_list_does_not_grow_for_ever(
    redis_site: Site, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    [stale] = ids(1)
    for _ in range(MAX_LENGTH // 10_000):
        client.rpush(KEY, *[stale] * 10_000)
    one, _ = await redis_site.start()
    one.announce(ids(1))
    await wait_until(lambda: client.llen(KEY) == MAX_LENGTH + 1, "it is in the list", within=AMPLE)
    one.announce(ids(500))
    await wait_until(lambda: lines(caplog, "queue.full"), "it is said", within=AMPLE)
    assert client.llen(KEY) == MAX_LENGTH + 1
    client.delete(KEY)
    other, _ = await redis_site.linked()
    await reaches(one, other, names=True)


async def test_the_sweep_does_not_repeat_a_backlog(redis_site: Site, client: redis.Redis) -> None:
    queue, _ = await redis_site.linked()
    queue.announce(ids(ENOUGH - 1))
    await wait_until(queue.depth, "the ids are in the list", within=AMPLE)
    again = ids(10)
    queue.announce(again, again=True)
    await wait_until(lambda: client.llen(KEY) == ENOUGH + 9, "there are few: all are added", within=AMPLE)
    queue.announce(again, again=True)
    [last] = ids(1)
    queue.announce([last])
    await wait_until(lambda: client.lindex(KEY, -1) == last, "the last", within=AMPLE)
    await queue.close()
    assert client.llen(KEY) == ENOUGH + 10, "there are enough: only the new one is added"


async def test_what_redis_cannot_be_told_for_long_is_forgotten(
    redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    queue = RedisQueue(redis_server.url(), prefix=PREFIX, keep=0.05)
    await queue.start()
    await wait_until(lambda: _known(queue), "it is connected", within=AMPLE)
    await asyncio.to_thread(redis_server.kill)
    await wait_until(lambda: lines(caplog, "queue.failing"), "it notices", within=AMPLE)
    queue.announce(ids(5))
    await wait_until(lambda: lines(caplog, "queue.dropped"), "it is said", within=AMPLE)
    await asyncio.to_thread(redis_server.start)
    await wait_until(lambda: _known(queue), "it is connected", within=AMPLE)
    [late] = ids(1)
    queue.announce([late])
    assert await queue.next(10, AMPLE) == [late]
    await queue.close()


async def test_no_more_than_a_bound_waits_for_redis(
    redis_site: Site, redis_server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(redis_server.kill)
    queue, _ = await redis_site.start()
    announced = ids(200)
    for _ in range(MAX_WAITING // 100):
        queue.announce(announced)
    assert lines(caplog, "queue.dropped")
    await asyncio.to_thread(redis_server.start)
    await wait_until(queue.depth, "the ids are in the list", within=AMPLE)
    with redis_server.client() as client:
        await queue.close()
        assert client.llen(KEY) <= MAX_WAITING


async def _known(queue: Queue) -> bool:
    return await queue.depth() is not None


async def test_a_cancelled_call_loses_no_id(redis_site: Site) -> None:
    """However the cancellation and the announcement meet, the id is given to the caller or to somebody else."""
    one, _ = await redis_site.linked()
    other, _ = await redis_site.linked()
    gone = 0
    for round in range(40):
        [id] = ids(1)
        call = asyncio.create_task(one.next(10, FOR_EVER))
        await asyncio.sleep(0.002)
        other.announce([id])
        for _ in range(round % 10):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        gone += call.cancelled()
        found: list[EventId] = await collect(other, 1) if call.cancelled() else list(call.result() or ())
        assert found == [id]
    assert gone


# PostgreSQL


async def test_the_connection_is_terminated(
    notify_site: Site, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    one, _ = await notify_site.linked()
    other, heard = await notify_site.linked()
    waiting = asyncio.create_task(other.next(10, FOR_EVER))
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'surehook queue'"
        )
    assert await ended(waiting) is None
    await wait_until(lambda: len(lines(caplog, "queue.recovered")) == 2, "both are back", within=AMPLE)
    await works_again(notify_site, one, other, heard)


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_the_server_is_stopped(
    notify_site: Site, postgres_server: PostgresServer, mode: Any, caplog: pytest.LogCaptureFixture
) -> None:
    one, _ = await notify_site.linked()
    other, heard = await notify_site.linked()
    await asyncio.to_thread(postgres_server.stop, mode)
    await wait_until(lambda: len(lines(caplog, "queue.failing")) == 2, "both notice", within=AMPLE)
    await polls(one)
    await asyncio.to_thread(postgres_server.start)
    await works_again(notify_site, one, other, heard)


async def test_announcements_of_an_outage_are_told_after_it(
    notify_site: Site, postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    one, _ = await notify_site.linked()
    await asyncio.to_thread(postgres_server.stop, "immediate")
    await wait_until(lambda: lines(caplog, "queue.failing"), "it notices", within=AMPLE)
    one.announce_messages(frozenset({"during"}))
    await asyncio.to_thread(postgres_server.start)
    _, heard = await notify_site.start()
    await wait_until(
        lambda: {"during"} in heard or frozenset[str]() in heard, "the other is woken", within=AMPLE
    )


async def test_a_pooler_is_found_out(
    postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    with Pgbouncer(postgres_server) as pooler:
        queue = NotifyingQueue(pooler.url(), prefix=unique_prefix())
        await queue.start()
        await wait_until(lambda: lines(caplog, "queue.failing"), "it is said", within=AMPLE)
        await polls(queue)
        await queue.close()
    assert "connection pooler" in lines(caplog, "queue.failing")[0]


async def test_idle_sessions_that_are_ended_are_others(
    postgres_server: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """``idle_session_timeout`` of the user or the database would end the one that listens again and again."""
    with postgres_server.database() as url:
        name = url.rpartition("/")[2]
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} SET idle_session_timeout = '100ms'".encode())
            queue = NotifyingQueue(url, prefix=unique_prefix(), probe=60)
            await queue.start()
            query = (
                "SELECT 1 FROM pg_stat_activity WHERE application_name = 'surehook queue' AND datname = current_database() "
                "AND state = 'idle' AND state_change < clock_timestamp() - interval '500ms'"
            )
            connection.execute("SET idle_session_timeout = 0")
            await wait_until(
                lambda: connection.execute(query).fetchall(), "it idles longer than others may", within=AMPLE
            )
        assert not lines(caplog, "queue.failing")
        await queue.close()


async def test_strangers_on_the_channel_harm_nobody(postgres_server: PostgresServer) -> None:
    prefix = unique_prefix()
    site = Site(lambda: NotifyingQueue(postgres_server.url(), prefix=prefix), across=True, names=False)
    one, _ = await site.linked()
    _, heard = await site.linked()
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        for payload in ("", "\n\n", "ä" * 3_000, "nobody\nledger"):
            connection.execute("SELECT pg_notify(%s, %s)", [f"{prefix}_messages", payload])
            connection.execute("SELECT pg_notify(%s, %s)", [f"{prefix}_events", payload])
    await wait_until(lambda: {"nobody", "ledger"} in heard, "what can be read arrives", within=AMPLE)
    await messages_reach(one, heard)
    await site.close()


async def test_notify_is_no_part_of_anything_else(notify_site: Site, postgres_server: PostgresServer) -> None:
    """The queue's session holds no transaction open, which would keep the server from forgetting old notifications."""
    await notify_site.linked()
    with psycopg.connect(postgres_server.url(), autocommit=True) as connection:
        query = "SELECT DISTINCT state FROM pg_stat_activity WHERE application_name = 'surehook queue'"
        await wait_until(
            lambda: connection.execute(query).fetchall() == [("idle",)], "the session is idle", within=AMPLE
        )
