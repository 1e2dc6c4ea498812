"""The Redis that serves as the queue. Only this module of the doctor needs redis-py."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from surehook.wiring.doctor.findings import Finding, Level

#: The oldest that takes many ids from a list at once.
OLDEST: Final = (6, 2)


async def check_redis(url: str, patience: int) -> AsyncGenerator[Finding, None]:
    """Whether it answers within so many milliseconds, and whether it keeps what it is given. Nothing is written."""
    seconds = patience / 1000
    client = Redis.from_url(
        url, socket_timeout=seconds, socket_connect_timeout=seconds, retry=Retry(NoBackoff(), 0)
    )
    try:
        await client.ping()
        for finding in _judge(await client.info()):
            yield finding
    except ResponseError as error:
        yield _found(
            "failed",
            f"Redis refuses: {str(error).rstrip('.')}. Its user needs PING, INFO and the commands of lists",
        )
    except (RedisError, OSError) as error:
        why = str(error).rstrip(".") or f"no answer within {seconds:g} s"
        yield _found("failed", f"Redis cannot be used: {why}. Until it can, workers poll the database")
    finally:
        await client.aclose()


def _judge(info: Mapping[str, Any]) -> list[Finding]:
    version = str(info.get("redis_version", ""))
    policy, evicted = str(info.get("maxmemory_policy", "noeviction")), int(info.get("evicted_keys", 0))
    findings = []
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        findings.append(_found("failed", f"Redis {version} is too old: 6.2 or newer is needed"))
    else:
        findings.append(_found("ok", f"Redis {version} answers"))
    if info.get("role") == "slave":
        findings.append(
            _found("failed", "this Redis is a replica, which cannot be written to: name its primary")
        )
    if policy != "noeviction":
        text = (
            f"maxmemory-policy is {policy}: what it evicts is found late, by the sweep. Set it to noeviction"
        )
        findings.append(_found("warning", text))
    if evicted:
        text = (
            f"it has evicted {evicted} keys since it started: give it more maxmemory, or a Redis of its own"
        )
        findings.append(_found("warning", text))
    return findings


def _found(level: Level, text: str) -> Finding:
    return Finding("queue", level, text)
