"""Threads for ``def`` handlers: a bounded number at work, and none that a hanging handler can take away for ever."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Work = Callable[[], None]


class HandlerThreads:
    """Runs functions in daemon threads, at most ``limit`` at once.

    Python cannot stop a thread. One whose caller has given up (timeout, shutdown) is *abandoned*: it no longer counts
    against the limit and ends when its function returns, if ever. ``abandoned`` says how many there are.
    """

    def __init__(self, limit: int) -> None:
        self._free = asyncio.Semaphore(limit)
        self._idle: list[SimpleQueue[Work | None]] = []
        self.abandoned = 0

    async def run(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The function's result or error. Waits while ``limit`` functions run."""
        async with self._free:
            inbox = self._idle.pop() if self._idle else self._start()
            loop = asyncio.get_running_loop()
            future: asyncio.Future[Any] = loop.create_future()
            call = contextvars.copy_context().run

            def work() -> None:
                try:
                    result = call(function, *arguments)
                except BaseException as error:  # noqa: BLE001 - a handler's SystemExit must not end the thread unseen
                    outcome: tuple[Any, BaseException | None] = (None, error)
                else:
                    outcome = (result, None)
                try:
                    loop.call_soon_threadsafe(self._done, inbox, future, *outcome)
                except RuntimeError:
                    return  # the loop has ended, and the process with it

            inbox.put(work)
            try:
                return await future
            except asyncio.CancelledError:
                # else the result came in the same step of the loop, and the thread is idle again
                self.abandoned += future.cancelled()
                raise

    def close(self) -> None:
        """End the idle threads."""
        while self._idle:
            self._idle.pop().put(None)

    def _start(self) -> SimpleQueue[Work | None]:
        inbox: SimpleQueue[Work | None] = SimpleQueue()
        threading.Thread(target=_serve, args=(inbox,), name="surehook-handler", daemon=True).start()
        return inbox

    def _done(
        self,
        inbox: SimpleQueue[Work | None],
        future: asyncio.Future[Any],
        result: Any,
        error: BaseException | None,
    ) -> None:
        if future.done():  # abandoned long ago; its place was taken
            self.abandoned -= 1
            inbox.put(None)
            return
        self._idle.append(inbox)
        if error is None:
            future.set_result(result)
        elif isinstance(error, StopIteration):  # which no future can carry
            future.set_exception(RuntimeError(f"the handler raised {error!r}"))
        else:
            future.set_exception(error)


def _serve(inbox: SimpleQueue[Work | None]) -> None:
    while (work := inbox.get()) is not None:
        work()
