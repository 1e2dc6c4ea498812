"""The services that the shop talks to: chat, ledger, warehouse and a carrier, in a process of their own.

Every delivery is verified with the official ``standardwebhooks`` library and written to a log of one JSON object a line.
The warehouse answers 503 while the file ``warehouse-is-down`` exists; the carrier refuses the first try of every order,
and answers nobody while ``carrier-is-slow`` exists.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

NAMES = ("chat", "ledger", "warehouse")
OUTAGE = "warehouse-is-down"
SLOWNESS = "carrier-is-slow"
LOG = "receiver.jsonl"


class Receiver:
    """Three webhook receivers and a carrier."""

    def __init__(self, folder: Path) -> None:
        self._outage = folder / OUTAGE
        self._slowness = folder / SLOWNESS
        self._log = (folder / LOG).open("a", buffering=1, encoding="utf-8")
        self._keys = {name: Webhook(os.environ[f"{name.upper()}_SECRET"]) for name in NAMES}
        self._asked: set[str] = set()
        self.latest: list[dict[str, Any]] = []

    async def deliver(self, request: web.Request) -> web.Response:
        """Verify, write down, answer."""
        name = request.match_info["name"]
        body = await request.read()
        try:
            self._keys[name].verify(body, dict(request.headers), json_parse=False)
        except WebhookVerificationError:
            return self._answer(name, request, body, 401)
        down = name == "warehouse" and self._outage.exists()
        return self._answer(name, request, body, 503 if down else 204)

    def _answer(self, name: str, request: web.Request, body: bytes, status: int) -> web.Response:
        message = {
            "to": name,
            "id": request.headers.get("webhook-id", ""),
            "status": status,
            "body": body.decode(),
        }
        self._log.write(json.dumps(message) + "\n")
        self.latest = [message, *self.latest[:49]]
        return web.Response(status=status)

    async def label(self, request: web.Request) -> web.Response:
        """A shipping label, on the second request with the same key: carriers are like that."""
        while self._slowness.exists():  # noqa: ASYNC110 - another process removes it
            await asyncio.sleep(0.05)
        key = request.headers["Idempotency-Key"]
        if key not in self._asked:
            self._asked.add(key)
            return web.json_response({"error": "busy, try again"}, status=503)
        return web.json_response({"label": f"LBL-{key[-8:].upper()}"})

    async def show(self, _request: web.Request) -> web.Response:
        """The latest deliveries, newest first."""
        return web.json_response(self.latest)


def main() -> None:
    """``python -m examples.demo.receiver --port N --folder DIR``; ends on SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    receiver = Receiver(arguments.folder)
    server = web.Application()
    server.add_routes(
        [
            web.get("/", receiver.show),
            web.post("/carrier/labels", receiver.label),
            web.post(f"/{{name:{'|'.join(NAMES)}}}", receiver.deliver),
        ]
    )
    web.run_app(server, host="127.0.0.1", port=arguments.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
