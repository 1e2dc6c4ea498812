"""The link to one Redis: whether it can be used now, and the only place that finds out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ReadOnlyError, RedisError, ResponseError

from surehook.config import check_queue
from surehook.errors import ConfigurationError, Unavailable
from surehook.queue.outage import Outage
from surehook.service import pause

logger = logging.getLogger(__name__)

#: Seconds to connect, log in and look around.
CONNECT_WITHIN: Final = 3.0
#: LPOP with a count came with 6.2, BLMPOP with 7.0.
_OLDEST: Final = (6, 2)
_BLMPOP_SINCE: Final = (7, 0)

#: redis-py would try ten times by itself, also after a timeout, and give up a blocking command after five seconds.
_CLIENT: Final[dict[str, Any]] = {
    "socket_connect_timeout": CONNECT_WITHIN,
    # one protocol for all versions: the pushed maintenance messages of the other one are of no use here
    "protocol": 2,
}


class RedisLink:
    """Three clients of one Redis, and a task that finds out when it is back after it was lost.

    ``blocking`` is for commands that wait on the server, ``listening`` for channels, ``quick`` for the rest. Their
    connections are their own, so that none waits for another and each finds its connection ready.
    """

    def __init__(self, url: str, patience: float) -> None:
        """``patience``: seconds for a command that does not block. Raises ConfigurationError for a URL that cannot work."""
        check_queue(url)
        self.blocking = _client(url, None)
        self.listening = _client(url, None)
        self.quick = _client(url, patience)
        self._clients = (self.blocking, self.listening, self.quick)
        #: Seconds that Redis has for a command that does not block; for one that does, so much more than it may block.
        self.patience = patience
        #: Whether Redis has BLMPOP.
        self.blmpop = True
        #: Set while Redis can be used, as far as anybody knows.
        self.up = asyncio.Event()
        self._lost = asyncio.Event()
        self._stop = asyncio.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._outage = Outage("the queue in Redis", first=0.1, longest=3.0)
        #: How often it has come up. What fails in an earlier life says nothing about this one.
        self._life = 0
        self._warned = False

    def on_up(self, callback: Callable[[], None]) -> None:
        """Call this whenever Redis can be used, or can be again."""
        self._callbacks.append(callback)

    async def keep(self) -> None:
        """Come up and, whenever the link is lost, come up again. Ends after ``close``."""
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(CONNECT_WITHIN):
                    await self._look_around()
            except (RedisError, OSError) as error:
                self._outage.failed(_told(error))
                await self._drop_idle_connections()
                await pause(self._stop, self._outage.rest * 1000)
            else:
                self._come_up()
                await self._lost.wait()
                self._lost.clear()
                await pause(self._stop, self._outage.rest * 1000)

    async def close(self) -> None:
        """Let ``keep`` end and close all connections."""
        self._stop.set()
        self._lost.set()
        for client in self._clients:
            with contextlib.suppress(RedisError, OSError):
                await client.connection_pool.disconnect()

    @contextlib.asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Bounds the commands inside.

        Raises Unavailable when Redis did not answer them or is the wrong one: the link is down then. What Redis refuses
        for another reason is raised as it came, a ResponseError.
        """
        life = self._life
        try:
            async with asyncio.timeout(seconds):
                yield
        except (RedisError, OSError) as error:
            if isinstance(error, ResponseError) and not _demoted(error):
                raise
            if life == self._life and self.up.is_set():
                self.up.clear()
                self._outage.failed(_told(error))
                self._lost.set()
            raise Unavailable(_told(error)) from error

    def _come_up(self) -> None:
        self._life += 1
        self._outage.worked()
        self.up.set()
        for callback in self._callbacks:
            callback()

    async def _look_around(self) -> None:
        """Raises RedisError or OSError when this Redis cannot be used."""
        for client in self._clients:
            await client.ping()
        try:
            about = await self.quick.info()
        except ResponseError:
            return  # not allowed to ask: the commands will tell
        if about.get("role") == "slave" and about.get("slave_read_only") == 1:
            raise ReadOnlyError("it is a read-only replica: name the primary in the queue's URL")
        version = tuple(int(part) for part in re.findall(r"\d+", str(about.get("redis_version", "7.0")))[:2])
        if version < _OLDEST:
            raise RedisError(f"it is Redis {about['redis_version']}: 6.2 or newer is needed")
        self.blmpop = version >= _BLMPOP_SINCE
        self._warn_of_eviction(str(about.get("maxmemory_policy", "")))

    def _warn_of_eviction(self, policy: str) -> None:
        """The volatile policies never touch the list, which has no time to live."""
        if policy.startswith("allkeys") and not self._warned:
            self._warned = True
            logger.warning(
                "Redis has maxmemory-policy %s and drops the whole queue when its memory is full; nothing is lost, but "
                "events wait for the sweep then: set it to noeviction",
                policy,
                extra={"event": "queue.eviction"},
            )

    async def _drop_idle_connections(self) -> None:
        """So that the next try resolves the name again, and none is left over from a server that is gone."""
        for client in self._clients:
            with contextlib.suppress(RedisError, OSError):
                await client.connection_pool.disconnect(inuse_connections=False)


def _client(url: str, timeout: float | None) -> Redis:
    try:
        return Redis.from_url(url, socket_timeout=timeout, retry=Retry(NoBackoff(), 0), **_CLIENT)
    except (ValueError, RedisError) as error:
        raise ConfigurationError(f"the queue's URL cannot be used: {error}") from None


def _demoted(error: ResponseError) -> bool:
    """Whether it says that this Redis is a replica now: another one has become the primary."""
    return isinstance(error, ReadOnlyError) or str(error).startswith("UNBLOCKED")


def _told(error: Exception) -> str:
    """What happened, in words."""
    if isinstance(error, AuthenticationError):
        return f"{error} (look at the user and the password in the queue's URL)"
    if isinstance(error, TimeoutError):
        return str(error) or "no answer in time"
    return str(error) or type(error).__name__
