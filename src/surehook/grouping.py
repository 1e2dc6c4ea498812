"""Group commit: what arrives while the previous batch is in flight becomes the next batch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from surehook.errors import Overloaded, TurnLost, Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


class GroupCommit(Generic[Item, Result]):
    """Turns single items into batches, one batch in flight at a time.

    Alone, an item is flushed at once; under load hundreds share one flush. A batch that fails for a reason of one of its
    items (TurnLost is one: somebody is in its way) is repeated item by item, so that only the guilty one fails; any other
    Unavailable fails the batch and all that wait.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        batch: int = 256,
        waiting: int = 100_000,
    ) -> None:
        self._flush = flush
        self._batch = batch
        self._bound = waiting
        self._waiting: list[tuple[Item, Callable[[Result | Exception], None]]] = []
        self._flushing: asyncio.Task[None] | None = None

    def submit(self, item: Item, done: Callable[[Result | Exception], None]) -> None:
        """Flush ``item`` together with others; ``done`` is called once with its own result, or with the error.

        The error is Overloaded, at once, when the bound is reached, else what the flush raises. ``done`` must not raise.
        """
        if len(self._waiting) >= self._bound:
            done(Overloaded(f"{self._bound} items wait for the database already: send again later"))
            return
        self._waiting.append((item, done))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._run())

    async def put(self, item: Item) -> Result:
        """As ``submit``: returns the result or raises the error. The flush goes on when the caller is cancelled."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        def done(outcome: Result | Exception) -> None:
            if future.done():
                return
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        self.submit(item, done)
        return await future

    async def drain(self) -> None:
        """Wait until nothing is in flight."""
        while self._flushing is not None:
            await asyncio.wait([self._flushing])

    async def _run(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting[: self._batch], self._waiting[self._batch :]
                await self._settle(batch)
        finally:
            self._flushing = None

    async def _settle(self, batch: list[tuple[Item, Callable[[Result | Exception], None]]]) -> None:
        try:
            results = await self._flush([item for item, _ in batch])
        except TurnLost as error:
            await self._settle_singly(batch, error)
        except Unavailable as error:
            # what waits would only wait for the same answer
            waiting, self._waiting = self._waiting, []
            for _, done in batch + waiting:
                done(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits for it
            await self._settle_singly(batch, error)
        else:
            for (_, done), result in zip(batch, results, strict=True):
                done(result)

    async def _settle_singly(
        self, batch: list[tuple[Item, Callable[[Result | Exception], None]]], error: Exception
    ) -> None:
        if len(batch) == 1:
            batch[0][1](error)
            return
        for single in batch:
            await self._settle([single])
