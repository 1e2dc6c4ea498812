"""The log of refused requests: kept so that "did it arrive?" has an answer, and never able to hold up ingest."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from msgspec.structs import replace

from surehook.config import RejectionSettings
from surehook.errors import SurehookError
from surehook.model import Headers, Rejection

logger = logging.getLogger(__name__)

#: Rows written in one transaction.
_BATCH: Final = 100
#: Milliseconds between two reports of what was dropped.
_REPORT_EVERY: Final = 10_000

#: Headers of a refused request that are kept: they say who sent what, and none of them can carry a credential.
_SAFE: Final = frozenset(
    {
        "content-length",
        "content-type",
        "date",
        "host",
        "traceparent",
        "user-agent",
        "via",
        "webhook-id",
        "x-forwarded-for",
        "x-request-id",
    }
)
_SAFE_ENDINGS: Final = (
    "-event",
    "-event-id",
    "-event-type",
    "-delivery",
    "-topic",
    "-timestamp",
    "-webhook-id",
)


#: A request of up to so many bytes, headers and body, is kept as it came where that is wanted.
MOST_AS_IT_CAME: Final = 64 * 1024

#: Of any other refused request, at most so many headers and characters of each value are kept: their sender chooses them.
_MOST_HEADERS: Final = 20
_LONGEST_VALUE: Final = 200


def harmless(headers: Headers) -> Headers:
    """The headers that may be kept of a request nobody vouches for."""
    kept = [pair for pair in headers if pair[0] in _SAFE or pair[0].endswith(_SAFE_ENDINGS)]
    return tuple([(name[:_LONGEST_VALUE], value[:_LONGEST_VALUE]) for name, value in kept[:_MOST_HEADERS]])


def reduced(rejection: Rejection, *, as_it_came: bool) -> Rejection:
    """What is kept of a refused request: all of it where that is wanted and little enough, else what is harmless."""
    size = len(rejection.body or b"") + sum(len(name) + len(value) for name, value in rejection.headers)
    if as_it_came and rejection.body is not None and size <= MOST_AS_IT_CAME:
        return rejection
    return replace(rejection, headers=harmless(rejection.headers), body=None, query="")


class Rejecting(Protocol):
    """The database, as the log sees it."""

    async def reject(self, rejections: Sequence[Rejection], *, keep: int) -> None:
        """Store rejections; see ``surehook.storage.Storage``."""
        ...


class RejectionLog:
    """Writes rejections from a task of its own: at most ``per_second`` rows a second, the rest only counted.

    A token bucket that holds one second's worth, refilled by the time the requests carry.
    """

    def __init__(self, storage: Rejecting, settings: RejectionSettings) -> None:
        self._storage = storage
        self._settings = settings
        self._tokens = float(settings.per_second)
        self._refilled = 0
        self._pending: deque[Rejection] = deque()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._writing = False
        self._reported = 0
        self._reported_at = 0
        #: Rejections that were counted but not written since the start.
        self.dropped = 0

    def note(self, rejection: Rejection) -> None:
        """Keep a rejection, less what nobody wants to be kept, or only count it. Never waits and never fails."""
        if not self._take(rejection.received_at) or len(self._pending) >= self._settings.keep:
            self.dropped += 1
            self._report(rejection.received_at)
            return
        self._pending.append(reduced(rejection, as_it_came=self._settings.keep_bodies))
        self._wake.set()

    @property
    def waiting(self) -> bool:
        """Whether something noted is not written yet."""
        return bool(self._pending) or self._writing

    def start(self) -> None:
        """Begin to write."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="rejections")

    async def close(self) -> None:
        """Write what waits, report what was dropped, and stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
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
            while self._pending:
                self._writing = True
                await self._write()
            self._writing = False
            if self._closing:
                return

    async def _write(self) -> None:
        batch = [self._pending.popleft() for _ in range(min(_BATCH, len(self._pending)))]
        try:
            await self._storage.reject(batch, keep=self._settings.keep)
        except SurehookError as error:
            self._lose(batch, str(error))
        except Exception as error:  # noqa: BLE001 - a broken log of refusals must not end, nor touch ingest
            self._lose(batch, repr(error))

    def _lose(self, batch: list[Rejection], why: str) -> None:
        self.dropped += len(batch)
        logger.warning("%d refused requests could not be recorded: %s", len(batch), why)

    def _report(self, now: int) -> None:
        fresh = self.dropped - self._reported
        if fresh and now - self._reported_at >= _REPORT_EVERY:
            logger.warning("%d refused requests were not recorded: more came than are kept", fresh)
            self._reported, self._reported_at = self.dropped, now
