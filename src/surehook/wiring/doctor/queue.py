"""The queue, where it is not the database."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Final

from surehook.config import Settings
from surehook.wiring.doctor.findings import Finding
from surehook.wiring.extras import import_extra, require_queue_extra
from surehook.wiring.urls import queue_url

#: Looks at the Redis of a URL; times out after so many milliseconds.
RedisCheck = Callable[[str, int], AsyncGenerator[Finding, None]]

_REDIS: Final = "surehook.wiring.doctor.redis_server"


async def check_queue(settings: Settings) -> AsyncGenerator[Finding, None]:
    """What is to be said of the configured queue."""
    url = queue_url(settings)
    if url == "database":
        yield Finding("queue", "ok", "the database itself")
        return
    require_queue_extra(url)
    check_redis: RedisCheck = import_extra(_REDIS, "queue: redis://", "redis").check_redis
    async for finding in check_redis(url, settings.redis.timeout):
        yield finding
