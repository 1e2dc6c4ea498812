"""The keys of senders that publish theirs: fetched when a request needs them, kept, and never fetched without bounds.

Whoever reaches the port chooses which keys a request needs, as far as its pack lets him. So there is one fetch at a time
for each source, a limit on sources that are new, and a pause after each failure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from surehook.clock import Millis
from surehook.errors import Unavailable
from surehook.packs.request import KeysNeeded, KeySource

logger = logging.getLogger(__name__)

#: Milliseconds for which what was fetched is used where nobody says anything else.
_LIFETIME: Final = 3_600_000
#: The bounds of what others may say: a set of keys that changes all the time is asked for once a minute.
_SHORTEST, _LONGEST = 60_000, 86_400_000
#: Milliseconds after a failure before the source is asked again.
_PAUSE: Final = 30_000
#: New sources a minute, and at once. What was fetched before may always be fetched again.
_FETCHES: Final = 10
_MINUTE: Final = 60_000
#: Sources that are remembered; beyond it one without keys, else the one that was fetched first, is forgotten.
_MOST: Final = 100
_ANY_AGE: Final = Millis(0)

#: So often keys are fetched for one request: those that verify it, and perhaps an address to be confirmed.
MOST_FETCHES: Final = 2


class KeysUnavailable(Unavailable):
    """The keys cannot be fetched now."""


class Fetched(msgspec.Struct, frozen=True):
    """The answer of a source: of one of its statuses, and with a body that is not too large."""

    body: bytes
    #: Seconds for which it may be kept, if the answer says so.
    max_age: int | None = None


#: Fetches from a source, within a few seconds. Raises anything when it cannot.
Fetch = Callable[[KeySource], Awaitable[Fetched]]


class _Entry(msgspec.Struct, frozen=True):
    value: Any
    fetched_at: Millis
    until: Millis


class KeyStore:
    """The fetched keys of one provider. Without ``fetch`` there are none, and none can be had."""

    def __init__(self, fetch: Fetch | None = None) -> None:
        self._fetch = fetch
        self._entries: dict[tuple[str, str], _Entry] = {}
        self._running: dict[tuple[str, str], asyncio.Task[str | None]] = {}
        #: Of each source that failed: until when it is left alone, and why.
        self._failed: dict[tuple[str, str], tuple[Millis, str]] = {}
        self._tokens = float(_FETCHES)
        self._refilled = Millis(0)

    def find(self, source: KeySource, now: Millis, since: Millis = _ANY_AGE) -> Any:
        """What was fetched there, at ``since`` or later. Raises KeysNeeded when there is none that is still good."""
        entry = self._entries.get(source.key)
        if entry is None or entry.until <= now or entry.fetched_at < since:
            raise KeysNeeded(source, since)
        return entry.value

    async def fetch(self, source: KeySource, since: Millis, now: Millis) -> None:
        """See to it that ``find`` finds something. Raises KeysUnavailable."""
        try:
            self.find(source, now, since)
        except KeysNeeded:
            # others may wait for the same fetch, so it goes on when one of them is gone
            failure = await asyncio.shield(self._fetching(source, now))
            if failure is not None:
                raise KeysUnavailable(failure) from None

    def _fetching(self, source: KeySource, now: Millis) -> asyncio.Task[str | None]:
        """The one fetch from a source that is under way."""
        task = self._running.get(source.key)
        if task is None:
            self._admit(source, now)
            task = asyncio.get_running_loop().create_task(self._get(source, now))
            self._running[source.key] = task
            task.add_done_callback(lambda _: self._running.pop(source.key))
        return task

    def _admit(self, source: KeySource, now: Millis) -> None:
        self._failed = {key: kept for key, kept in self._failed.items() if kept[0] > now}
        if source.key in self._failed:
            raise KeysUnavailable(self._failed[source.key][1])
        gained = max(0, now - self._refilled) * _FETCHES / _MINUTE
        self._tokens, self._refilled = min(float(_FETCHES), self._tokens + gained), now
        if source.key in self._entries:
            return
        if self._tokens < 1:
            raise KeysUnavailable(f"more than {_FETCHES} new keys a minute were asked for")
        self._tokens -= 1

    async def _get(self, source: KeySource, now: Millis) -> str | None:
        """Fetch and keep; what went wrong is returned, so that all who wait are told."""
        try:
            if self._fetch is None:
                raise ValueError("nothing here can fetch keys")
            fetched = await self._fetch(source)
            self._keep(source, fetched, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, the request is to come again
            failure = f"no keys from {source.place}: {str(error) or type(error).__name__}"
            self._failed[source.key] = Millis(now + _PAUSE), failure
            return failure
        logger.info("fetched keys", extra={"event": "keys.fetched", "url": source.place})
        return None

    def _keep(self, source: KeySource, fetched: Fetched, now: Millis) -> None:
        found = source.read(fetched.body)
        if found.until is not None:
            until = max(found.until, now + _SHORTEST)
        elif fetched.max_age is not None:
            until = now + min(max(fetched.max_age * 1000, _SHORTEST), _LONGEST)
        else:
            until = now + _LIFETIME
        self._entries.pop(source.key, None)
        self._entries[source.key] = _Entry(found.value, now, Millis(until))
        if len(self._entries) > _MOST:
            # what does not exist can be asked for by anyone, and must not drive out what does
            known = list(self._entries)
            del self._entries[next((key for key in known if self._entries[key].value is None), known[0])]
