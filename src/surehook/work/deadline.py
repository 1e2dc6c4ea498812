"""The time that a handler has: what ``asyncio.timeout`` does in five calls and two coroutines, in two calls."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any


class Deadline:
    """Cancels the present task once, when so many seconds are over or somebody ends it: a TimeoutError at the end.

    A cancellation from elsewhere stays one, also when it comes at the same time.
    """

    __slots__ = ("_cancelling", "_left", "_task", "_timer", "ended", "over")

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline needs a task that it can cancel")
        self._task: asyncio.Task[Any] = task
        self._cancelling = task.cancelling()
        #: The time is over, for whichever reason.
        self.over = False
        #: Somebody has ended it.
        self.ended = False
        self._left = False
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def end(self) -> None:
        """The time is over now. Once nobody is inside any more this only sets ``ended``."""
        self.ended = True
        self._expire()

    def _expire(self) -> None:
        if not (self.over or self._left):
            self.over = True
            self._task.cancel()

    def __enter__(self) -> Deadline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left = True
        self._timer.cancel()
        if self.over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
