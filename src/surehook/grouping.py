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
        self._waiting: list[tuple[Item, asyncio.Future[Result]]] = []
        self._flushing: asyncio.Task[None] | None = None

    async def put(self, item: Item) -> Result:
        """Flush ``item`` together with others; returns its own result.

        The flush goes on when the caller is cancelled. Raises Overloaded when the bound is reached, else what the flush
        raises.
        """
        if len(self._waiting) >= self._bound:
            raise Overloaded(f"{self._bound} items wait for the database already: send again later")
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flushing is None:
            self._flushing = asyncio.create_task(self._run())
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

    async def _settle(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._flush([item for item, _ in batch])
        except TurnLost as error:
            await self._settle_singly(batch, error)
        except Unavailable as error:
            # what waits would only wait for the same answer
            waiting, self._waiting = self._waiting, []
            _fail(batch + waiting, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to whoever waits for it
            await self._settle_singly(batch, error)
        else:
            for (_, future), result in zip(batch, results, strict=True):
                if not future.done():
                    future.set_result(result)

    async def _settle_singly(
        self, batch: list[tuple[Item, asyncio.Future[Result]]], error: Exception
    ) -> None:
        if len(batch) == 1:
            _fail(batch, error)
            return
        for single in batch:
            await self._settle([single])


def _fail(batch: list[tuple[Item, asyncio.Future[Result]]], error: Exception) -> None:
    for _, future in batch:
        if not future.done():
            future.set_exception(error)
