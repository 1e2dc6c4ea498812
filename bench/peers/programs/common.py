"""What the Python peers share: the check of a webhook's signature, the server, and how they talk to the benchmark."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import sys
import time
from collections.abc import Callable
from threading import Thread
from typing import Annotated, Any, NamedTuple

import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request

SECRET = b"whsec_bench"
#: Seconds that a signature may be old, as Stripe's own libraries have it.
TOLERANCE = 300
#: What libraries write to standard output goes to standard error: the benchmark reads the former.
SAYING = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


class Event(NamedTuple):
    """A webhook that is authentic."""

    id: str
    body: bytes
    data: dict[str, Any]


async def verified(request: Request) -> Event:
    """Stripe's scheme: HMAC-SHA256 over the time and the raw body."""
    body = await request.body()
    parts = dict(
        part.split("=", 1) for part in request.headers.get("stripe-signature", "").split(",") if part
    )
    signed = hmac.new(SECRET, parts.get("t", "").encode() + b"." + body, hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signed, parts.get("v1", "")) or abs(time.time() - int(parts["t"])) > TOLERANCE:
        raise HTTPException(401)
    data = json.loads(body)
    return Event(data["id"], body, data)


Verified = Annotated[Event, Depends(verified)]


def answer(*, duplicate: bool) -> dict[str, bool]:
    """The body of the 200."""
    return {"received": True, "duplicate": duplicate}


def say(line: object) -> None:
    """One line for the benchmark."""
    print(json.dumps(line), file=SAYING, flush=True)


class Server(uvicorn.Server):
    """Tells its port once it listens."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        say({"port": self.servers[0].sockets[0].getsockname()[1]})


def serve(app: FastAPI) -> None:
    """One process, on uvloop and httptools, without a log of requests, until it is killed."""
    Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False)).run()


def await_start() -> None:
    """Everything is loaded: wait until the benchmark says that it may begin."""
    say("ready")
    sys.stdin.readline()


def begun(handled: Callable[[], int] | None = None) -> None:
    """The worker is connected; from now on it tells how many it has handled, whenever it is asked."""
    say("begun")

    def listen() -> None:
        for _ in sys.stdin:
            say(handled() if handled else 0)

    Thread(target=listen, daemon=True).start()
