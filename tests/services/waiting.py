"""Waiting for a condition, with a deadline, where there is no event loop."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

#: Seconds between two looks at a condition.
PAUSE = 0.01


def until(condition: Callable[[], T], what: str, *, within: float = 30.0) -> T:
    """Look at the condition until it is true and return its value.

    Raises TimeoutError, naming ``what`` was waited for and the last value seen, after ``within`` seconds.
    """
    deadline = time.monotonic() + within
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise TimeoutError(f"after {within} s still not: {what} (last seen: {value!r})")
        time.sleep(PAUSE)
