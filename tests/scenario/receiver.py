"""The receiver: a destination that checks each delivery with the official library and keeps a log of them."""

from __future__ import annotations

import asyncio
import base64
import os
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec
from aiohttp import web
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from surehook.clock import SystemClock
from tests.scenario.history import Delivery, digest, read_lines

#: What the installation signs its deliveries with.
SECRET = "whsec_" + base64.b64encode(b"the secret of all our receivers").decode()

#: In a script: never answer.
HANG = None


class Receiver:
    """Answers 204 unless its script says otherwise. The log is written before the answer is sent."""

    def __init__(self, name: str, log: Path) -> None:
        self.name = name
        self.log = log
        #: What to answer to the next deliveries, and to all the others.
        self.script: deque[int | None] = deque()
        self.otherwise: int | None = 204
        #: How many deliveries its log holds.
        self.count = 0
        self._verifier = Verifier(SECRET)
        self._stopped = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._log = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        application = web.Application()
        application.router.add_post("/", self._receive)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        await self._runner.cleanup()
        os.close(self._log)

    @property
    def url(self) -> str:
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}/"

    def deliveries(self) -> list[Delivery]:
        """What its log holds."""
        return read_lines(self.log, Delivery)

    async def _receive(self, request: web.Request) -> web.Response:
        body = await request.read()
        status = self.script.popleft() if self.script else self.otherwise
        verified = self._verified(body, dict(request.headers))
        delivery = Delivery(
            destination=self.name,
            id=request.headers.get("webhook-id", ""),
            sha256=digest(body),
            verified=verified,
            status=status if verified else 401,
            at=SystemClock().now(),
        )
        os.write(self._log, msgspec.json.encode(delivery) + b"\n")
        self.count += 1
        if delivery.status is None:
            await self._stopped.wait()
        return web.Response(status=delivery.status or 503)

    def _verified(self, body: bytes, headers: dict[str, str]) -> bool:
        try:
            self._verifier.verify(body, headers)
        except WebhookVerificationError:
            return False
        return True
