"""/livez and /readyz: whether the process answers, and whether it can do its work now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec

from surehook.ingest.problems import GET_ONLY, NOT_FOUND, Answer, Receive, Scope, Send, answer

logger = logging.getLogger(__name__)

#: Answers None when all is well, else the reason in words.
Check = Callable[[], Awaitable[str | None]]

#: Seconds that one check may take; one that takes longer has failed.
CHECK_DEADLINE: Final = 2.0

PATHS: Final = frozenset({"/livez", "/readyz"})

_CONTENT_TYPE: Final = b"application/json"
_NO_STORE: Final = (b"cache-control", b"no-store")
_ALIVE: Final = answer(200, b'{"status":"pass"}', _CONTENT_TYPE, _NO_STORE)


class Readiness:
    """The named checks of one process, shared by its ports. They run together, and one run serves all who wait for it."""

    def __init__(self, checks: Mapping[str, Check], *, deadline: float = CHECK_DEADLINE) -> None:
        self._checks = checks
        self._deadline = deadline
        self._run: asyncio.Task[dict[str, str | None]] | None = None
        #: Set when the process has begun to stop: it is not ready any more, whatever the checks say.
        self.draining = False

    async def reasons(self) -> dict[str, str | None]:
        """Every check's name with None, or why it fails."""
        if self.draining:
            return {"draining": "the process is stopping"}
        if self._run is None or self._run.done():
            self._run = asyncio.get_running_loop().create_task(self._check_all())
        return await asyncio.shield(self._run)

    async def _check_all(self) -> dict[str, str | None]:
        results = await asyncio.gather(*(self._check(name) for name in self._checks))
        return dict(zip(self._checks, results, strict=True))

    async def _check(self, name: str) -> str | None:
        try:
            async with asyncio.timeout(self._deadline):
                reason = await self._checks[name]()
        except TimeoutError:
            reason = f"no result within {self._deadline:g} s"
        except Exception as error:  # noqa: BLE001 - a check that breaks has failed, and must not break the others
            reason = f"{type(error).__name__}: {error}"
        if reason is not None:
            logger.warning("not ready: %s: %s", name, reason)
        return reason


class HealthApp:
    """An ASGI application for /livez and /readyz alone.

    ``details`` adds the reasons to the answer of /readyz; leave it off on a public port, where only the names of the
    checks are shown and the reasons are in the log.
    """

    def __init__(self, readiness: Readiness, *, details: bool = False) -> None:
        self._readiness = readiness
        self._details = details

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise NotImplementedError(f"health is served over HTTP, not {scope['type']}")
        reply = await self.answer(scope["method"], scope["path"])
        await reply.send(send)

    async def answer(self, method: str, path: str) -> Answer:
        """The answer for a path inside this application."""
        if path not in PATHS:
            return NOT_FOUND.close
        if method not in ("GET", "HEAD"):
            return GET_ONLY.close
        return _ALIVE if path == "/livez" else self._ready(await self._readiness.reasons())

    def _ready(self, reasons: Mapping[str, str | None]) -> Answer:
        failing = any(reason is not None for reason in reasons.values())
        document = {
            "status": "fail" if failing else "pass",
            "checks": {name: self._shown(reason) for name, reason in reasons.items()},
        }
        return answer(503 if failing else 200, msgspec.json.encode(document), _CONTENT_TYPE, _NO_STORE)

    def _shown(self, reason: str | None) -> str:
        if reason is None:
            return "pass"
        return f"fail: {reason}" if self._details else "fail"
