"""The log of refused requests: kept so that "did it arrive?" has an answer, and never able to hold up ingest."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Final

from surehook.config import RejectionSettings
from surehook.errors import SurehookError
from surehook.model import Headers, Rejection
from surehook.storage import Storage

logger = logging.getLogger(__name__)

#: Rows written in one transaction.
_BATCH: Final = 100
#: Milliseconds between two reports of what was dropped.
_REPORT_EVERY: Final = 10_000

#: Headers of a refused request that are kept: they say who sent what, and none of them can carry a credential.
_SAFE: Final = frozenset(
    {"host", "user-agent", "content-type", "content-length", "date", "traceparent", "via", "x-forwarded-for"}
)
_SAFE_ENDINGS: Final = ("-id", "-event", "-delivery", "-topic", "-timestamp", "-type")


def harmless(headers: Headers) -> Headers:
    """The headers that may be kept of a request nobody vouches for."""
    return tuple(pair for pair in headers if pair[0] in _SAFE or pair[0].endswith(_SAFE_ENDINGS))


class RejectionLog:
    """Writes rejections from a task of its own: at most ``per_second`` rows a second, the rest only counted.

    A token bucket that holds one second's worth, refilled by the time the requests carry.
    """

    def __init__(self, storage: Storage, settings: RejectionSettings) -> None:
        self._storage = storage
        self._settings = settings
        self._tokens = float(settings.per_second)
        self._refilled = 0
        self._pending: deque[Rejection] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._reported = 0
        self._reported_at = 0
        #: Rejections that were counted but not written since the start.
        self.dropped = 0

    def note(self, rejection: Rejection) -> None:
        """Keep a rejection, or only count it. Never waits and never fails."""
        if not self._take(rejection.received_at) or len(self._pending) >= self._settings.keep:
            self.dropped += 1
            self._report(rejection.received_at)
            return
        self._pending.append(rejection)
        self._wake.set()

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="rejections")

    async def close(self) -> None:
        """Write what waits, report what was dropped, and stop."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        await self._write()
        self._report(self._reported_at + _REPORT_EVERY)

    def _take(self, now: int) -> bool:
        per_second = self._settings.per_second
        gained = max(0, now - self._refilled) * per_second / 1000
        self._tokens = min(float(per_second), self._tokens + gained)
        self._refilled = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._write()

    async def _write(self) -> None:
        while self._pending:
            batch = [self._pending[index] for index in range(min(_BATCH, len(self._pending)))]
            # Taken off only when the write is over: a cancelled write is repeated by close(), not forgotten.
            if not await self._reject(batch):
                self.dropped += len(batch)
            for _ in batch:
                self._pending.popleft()

    async def _reject(self, batch: list[Rejection]) -> bool:
        try:
            await self._storage.reject(batch, keep=self._settings.keep)
        except SurehookError as error:
            logger.warning("%d refused requests could not be recorded: %s", len(batch), error)
            return False
        except Exception:  # a broken log of refusals must not end, and must not touch ingest
            logger.exception("%d refused requests could not be recorded", len(batch))
            return False
        return True

    def _report(self, now: int) -> None:
        fresh = self.dropped - self._reported
        if fresh and now - self._reported_at >= _REPORT_EVERY:
            logger.warning("%d refused requests were not recorded: more came than are kept", fresh)
            self._reported, self._reported_at = self.dropped, now
