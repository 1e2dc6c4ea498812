"""The one way in which scenarios wait: for a condition, with a deadline."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

#: Seconds between two looks at a condition.
PAUSE = 0.02
#: How long a condition may take, in seconds: what is quick here takes ten times as long on a machine that others use too.
WITHIN = 60.0


@overload
async def wait_until(
    condition: Callable[[], Awaitable[T]], what: str, *, within: float = ..., pause: float = ...
) -> T: ...


@overload
async def wait_until(
    condition: Callable[[], T], what: str, *, within: float = ..., pause: float = ...
) -> T: ...


async def wait_until(
    condition: Callable[[], Any], what: str, *, within: float = WITHIN, pause: float = PAUSE
) -> Any:
    """Look at the condition until it is true and return its value.

    Raises AssertionError, naming ``what`` was waited for and the last value seen, after ``within`` seconds.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        found = condition()
        value = await found if inspect.isawaitable(found) else found
        if value:
            return value
        if loop.time() >= deadline:
            raise AssertionError(f"after {within} s still not: {what} (last seen: {value!r})")
        await asyncio.sleep(pause)
