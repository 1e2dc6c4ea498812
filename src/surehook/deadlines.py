"""One timer for many deadlines."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

#: A timer of the event loop may fire this much early, in seconds.
_RESOLUTION: Final = 0.001


class Deadlines:
    """Gives each block of code the same time. As ``asyncio.timeout``, which takes and gives back a timer each time.

    Since the time is always the same, the one that was entered first is the first to expire. The one timer runs for it
    and is not touched when a block ends in time.
    """

    def __init__(self, seconds: float) -> None:
        """``seconds`` is what each block has. Needs a running loop."""
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._entered: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> Deadline:
        """The deadline of a block that is entered now."""
        return Deadline(self)

    def close(self) -> None:
        """Give the timer back: nothing expires any more."""
        if self._timer is not None:
            self._timer.cancel()

    def enter(self, deadline: Deadline) -> float:
        """For Deadline only: when it expires."""
        at = self._loop.time() + self._seconds
        self._entered[deadline] = None
        if self._timer is None:
            self._timer = self._loop.call_at(at, self._sweep)
        return at

    def leave(self, deadline: Deadline) -> None:
        """For Deadline only."""
        self._entered.pop(deadline, None)

    def _sweep(self) -> None:
        self._timer = None
        late = self._loop.time() + _RESOLUTION
        while self._entered:
            first = next(iter(self._entered))
            if first.at > late:
                self._timer = self._loop.call_at(first.at, self._sweep)
                return
            del self._entered[first]
            first.expire()


class Deadline:
    """``with``: a task that is still inside when the time is over gets a TimeoutError. Entered once."""

    __slots__ = ("_cancelling", "_deadlines", "_task", "at", "ended", "expired")

    def __init__(self, deadlines: Deadlines) -> None:
        self._deadlines = deadlines
        #: Who is inside.
        self._task: asyncio.Task[object] | None = None
        self._cancelling = 0
        #: The task inside was told that the time is over.
        self.expired = False
        #: Somebody has said that it is over.
        self.ended = False
        #: When it expires, by the loop's clock.
        self.at = 0.0

    def end(self) -> None:
        """The time is over now; of no effect on a task that has left."""
        self.ended = True
        self._deadlines.leave(self)
        self.expire()

    def __enter__(self) -> Deadline:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a deadline is for a task")
        self._task = task
        self._cancelling = task.cancelling()
        self.at = self._deadlines.enter(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        if not self.expired:
            self._deadlines.leave(self)
            return
        # somebody else may have cancelled the task as well: then it ends
        ours = task is not None and task.uncancel() <= self._cancelling
        if ours and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def expire(self) -> None:
        """Break the task off."""
        if self._task is not None and not self.expired:
            self.expired = True
            self._task.cancel()
