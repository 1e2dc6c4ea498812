"""What a queue refuses to be given, and that the refusal says what to do and repeats no password."""

from __future__ import annotations

import pytest

from surehook.errors import ConfigurationError
from surehook.queue.notify import NotifyingQueue
from surehook.queue.redis import RedisQueue


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
    ("url", "says"),
    [
        ("", "redis://host:6379/0"),
        ("geheim", "redis://host:6379/0"),
        ("http://geheim@localhost", "redis://host:6379/0"),
        ("unix:///run/redis.sock", "redis://host:6379/0"),
        ("redis://geheim@localhost:0", "redis://host:6379/0"),
        ("redis://geheim@localhost:many", "cannot be read"),
        ("redis://geheim@[::1", "cannot be read"),
        ("redis://geheim@localhost/main", "number of a database"),
        ("redis://geheim@localhost/0/1", "number of a database"),
        ("redis://geheim@localhost?db=main", "cannot be used"),
        ("redis://geheim@localhost?socket_timeout=1", "'socket_timeout'; only db and ssl_"),
        ("redis://geheim@localhost?decode_responses=true", "'decode_responses'; only db and ssl_"),
        ("redis://geheim@localhost?protocol=", "'protocol'; only db and ssl_"),
        ("redis://geheim@localhost?ssl_nonsense=1", "cannot be used"),
        ("rediss://geheim@localhost?ssl_nonsense=1", "cannot be used"),
    ],
)
def test_redis_urls_that_cannot_work(url: str, says: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        RedisQueue(url)
    assert says in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["postgresql://user:geheim@localhost:many:more/x", "nonsense geheim", "http://geheim@x"]
)
def test_postgresql_urls_that_cannot_work(url: str) -> None:
    with pytest.raises(ConfigurationError, match="postgresql://user:password@host") as caught:
        NotifyingQueue(url)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "Surehook", "a-b", "a" * 51, 'x"; DROP TABLE y; --'])
def test_prefixes_that_are_no_part_of_a_channel_name(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="at most 50 of"):
        NotifyingQueue("postgresql://localhost", prefix=prefix)
