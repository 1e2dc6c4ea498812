"""The sender: posts webhooks as providers do and keeps a journal of every try."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from tests.scenario.history import Request, digest
from tests.scenario.waiting import wait_until
from tests.scenario.webhooks import Webhook


class Answer(msgspec.Struct, frozen=True):
    """What one try came to."""

    request: Request
    #: From the connection's start to the last byte of the answer.
    seconds: float

    @property
    def status(self) -> int | None:
        return self.request.status

    @property
    def duplicate(self) -> bool | None:
        return self.request.duplicate


class Sender:
    """Posts to one installation. Its journal is append-only: a line for each request, when its end is known."""

    def __init__(self, url: str, journal: Path) -> None:
        self.url = url
        self.journal = journal
        #: How many requests were answered with a 2xx.
        self.acknowledged = 0

    async def __aenter__(self) -> Self:
        self._journal = os.open(self.journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=15)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()
        os.close(self._journal)

    async def post(self, webhook: Webhook) -> Answer:
        """Try once."""
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            status, body = await self._send(webhook)
        except aiohttp.ClientConnectorError:  # nobody listens: no request was made, so none is noted
            return Answer(_request(webhook, None, b""), loop.time() - started)
        except (aiohttp.ClientError, OSError):  # TimeoutError is one
            status, body = None, b""
        request = _request(webhook, status, body)
        os.write(self._journal, msgspec.json.encode(request) + b"\n")
        self.acknowledged += request.acknowledged
        return Answer(request, loop.time() - started)

    async def deliver(self, webhook: Webhook, *, within: float = 60.0) -> None:
        """Try until it is acknowledged, as providers do, only faster."""

        async def acknowledged() -> bool:
            return (await self.post(webhook)).request.acknowledged

        await wait_until(acknowledged, f"{webhook.external_id} is acknowledged", within=within)

    async def post_all(self, webhooks: Iterable[Webhook]) -> list[Answer]:
        """Try each once, all at the same time."""
        return await asyncio.gather(*(self.post(webhook) for webhook in webhooks))

    async def _send(self, webhook: Webhook) -> tuple[int, bytes]:
        url = f"{self.url}/webhooks/{webhook.provider}"
        async with self._session.post(url, data=webhook.body, headers=webhook.headers()) as answer:
            return answer.status, await answer.read()


def _request(webhook: Webhook, status: int | None, body: bytes) -> Request:
    event = _stored(body) if status == 200 else {}
    return Request(
        provider=webhook.provider,
        external_id=webhook.external_id,
        sha256=digest(webhook.body),
        status=status,
        event=event.get("id"),
        duplicate=event.get("duplicate"),
    )


def _stored(body: bytes) -> dict[str, Any]:
    answer = msgspec.json.decode(body)
    assert answer["received"] is True, answer
    (event,) = answer["events"]
    return dict(event)
