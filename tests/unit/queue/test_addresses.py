"""What a queue refuses to be given, and that the refusal says what to do and repeats no password."""

from __future__ import annotations

import asyncio

import pytest

from surehook.errors import ConfigurationError
from surehook.ids import EventId
from surehook.queue.notify import NotifyingQueue
from surehook.queue.redis import RedisQueue
from tests.services import RedisServer


@pytest.mark.parametrize(
    "url",
    [
        "redis://localhost",
        "redis://localhost:6379/",
        "redis://localhost:6379/3",
        "redis://:geheim@[::1]:6379/0",
        "redis://user:geheim%2F@redis.example.com?db=2",
        "rediss://redis.example.com:6380/0?ssl_cert_reqs=none&ssl_ca_certs=ca.pem",
    ],
)
async def test_redis_urls_that_work(url: str) -> None:
    await RedisQueue(url).close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "geheim",
        "http://geheim@localhost",
        "unix://run/redis.sock",
        "redis://geheim@localhost:0",
        "redis://geheim@localhost:many",
        "redis://user:geheim#@localhost",
        "redis://user:geheim/@localhost",
        "redis://geheim@[::1",
        "redis://geheim@localhost/main",
        "redis://geheim@localhost/0/1",
        "redis://geheim@localhost?db=main",
        "redis://geheim@localhost?socket_timeout=1",
        "redis://geheim@localhost?decode_responses=true",
        "redis://geheim@localhost?protocol=",
        "rediss://geheim@localhost?ssl_nonsense=1",
    ],
)
def test_redis_urls_that_cannot_work(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisQueue(url)
    assert "geheim" not in str(caught.value)


async def test_a_socket_file_leads_to_redis() -> None:
    with RedisServer({"unixsocket": "redis.sock", "unixsocketperm": "777"}) as server:
        queue = RedisQueue(f"unix://{server.folder}/redis.sock")
        await queue.start()
        queue.announce([EventId(b"0123456789abcdef")])
        async with asyncio.timeout(20):
            while not (found := await queue.next(1, 1.0)):
                pass
        assert found == [b"0123456789abcdef"]
        await queue.close()


@pytest.mark.parametrize(
    "url", ["postgresql://user:geheim@localhost/x?colour=blue", "nonsense geheim", "http://geheim@x"]
)
def test_postgresql_urls_that_cannot_work(url: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://user:password@host") as caught:
        NotifyingQueue(url)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "Surehook", "a-b", "a" * 51, 'x"; DROP TABLE y; --'])
def test_prefixes_that_are_no_part_of_a_channel_name(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="at most 50 of"):
        NotifyingQueue("postgresql://localhost", prefix=prefix)
