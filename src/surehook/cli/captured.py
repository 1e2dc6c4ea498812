"""Requests that were captured into files, and what is told of the verdict on one."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from surehook.clock import isoformat
from surehook.errors import InvalidRequest
from surehook.ingest.intake import ROUTE
from surehook.model import Headers, NewEvent
from surehook.packs import Challenge, Received, Refused
from surehook.packs.verdicts import Settled
from surehook.secrets import Secret, SecretResolver

#: Characters that are shown of what was signed.
MOST_SIGNED: Final = 2_000

_REQUEST_LINE: Final = re.compile(r"([A-Z]+) (\S+) HTTP/[0-9.]+")
_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*(.*?)[ \t]*")
_ROUTE: Final = re.compile(ROUTE)
_HIDDEN: Final = b"[secret]"


class Dump(msgspec.Struct, frozen=True):
    """A request as it was written down; what stands in its first line is None without one."""

    headers: Headers
    #: What follows the empty line after the headers, None where there is no such line.
    body: bytes | None = None
    method: str | None = None
    query: str | None = None
    topic: str | None = None


def parse_dump(data: bytes) -> Dump:
    """Read ``Name: value`` lines, maybe with a request line before them and a body behind an empty line.

    Raises InvalidRequest, with the line's number, for a line that is no header.
    """
    head, gap, body = _cut(data)
    lines = [line.removesuffix("\r") for line in head.decode("latin-1").split("\n")]
    first = _REQUEST_LINE.fullmatch(lines[0])
    pairs = [
        _pair(number, line) for number, line in enumerate(lines, 1) if line and (number > 1 or not first)
    ]
    method, query, topic = _request_line(first) if first else (None, None, None)
    return Dump(tuple(pairs), body if gap and body else None, method, query, topic)


def _cut(data: bytes) -> tuple[bytes, bytes, bytes]:
    """What stands before the first empty line, that line, and what follows."""
    found = re.search(rb"\r?\n(\r?\n)", data)
    return (data[: found.start()], found[1], data[found.end() :]) if found else (data, b"", b"")


def _pair(number: int, line: str) -> tuple[str, str]:
    found = _HEADER.fullmatch(line)
    if found is None:
        raise InvalidRequest(f"line {number} of the headers is none: each is written as 'Name: value'.")
    return found[1].lower(), found[2]


def _request_line(found: re.Match[str]) -> tuple[str, str, str | None]:
    target = urlsplit(found[2])
    route = _ROUTE.search(target.path)
    return found[1], target.query, route[2] if route else None


class Remembering:
    """Resolves secrets and remembers them, so that what is shown can be kept free of them."""

    def __init__(self, resolver: SecretResolver) -> None:
        self._resolver = resolver
        self._known: list[Secret] = []

    def __call__(self, reference: str) -> Secret:
        """The secret behind a reference. Raises ConfigurationError as the resolver does."""
        secret = self._resolver(reference)
        self._known.append(secret)
        return secret

    def hide(self, data: bytes) -> bytes:
        """The same without the secrets: some senders sign text that begins with theirs."""
        for secret in self._known:
            data = data.replace(secret.encode(), _HIDDEN)
        return data


class Signed(msgspec.Struct, frozen=True):
    """What a right signature would have covered, as far as it can be shown."""

    length: int
    #: None where a secret is part of it: the digest might be the very signature.
    sha256: str | None
    #: Whether what follows is all of it.
    whole: bool
    text: str | None = None
    hex: str | None = None


def signed_of(refused: Refused, secrets: Remembering) -> Signed | None:
    """What was signed, None where it was not come to that."""
    data = b"".join(refused.signed)
    if not data:
        return None
    shown = secrets.hide(data)
    digest = hashlib.sha256(data).hexdigest() if shown == data else None
    try:
        text = shown.decode()
    except UnicodeDecodeError:
        half = MOST_SIGNED // 2
        return Signed(len(data), digest, len(shown) <= half, hex=shown[:half].hex())
    return Signed(len(data), digest, len(text) <= MOST_SIGNED, text=text[:MOST_SIGNED])


def verdict_json(verdict: Settled, secrets: Remembering) -> dict[str, Any]:
    """A verdict for programs."""
    if isinstance(verdict, Refused):
        detail = secrets.hide(verdict.detail.encode()).decode()
        return {"verdict": "refused", "detail": detail, "signed": signed_of(verdict, secrets)}
    if isinstance(verdict, Challenge):
        body = secrets.hide(verdict.body)
        return {
            "verdict": "answered",
            "kind": verdict.kind,
            "status": verdict.status,
            "content_type": verdict.content_type,
            "headers": verdict.headers,
            **_body(body),
        }
    return {"verdict": "accepted", "secret": verdict.secret, "events": events_json(verdict)}


def _body(body: bytes) -> dict[str, str]:
    try:
        return {"body": body.decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(body).decode()}


def events_json(verdict: Received) -> Sequence[dict[str, Any]]:
    """The events that a request would become; they have no id of their own yet."""
    return [_event(event) for event in verdict.events]


def _event(event: NewEvent) -> dict[str, Any]:
    return {
        "external_id": event.external_id,
        "weak": event.weak,
        "type": event.type,
        "subject": event.subject,
        "occurred_at": None if event.occurred_at is None else isoformat(event.occurred_at),
        "item": event.item,
        "part": event.part,
        "dead": event.dead,
        "error": event.error,
    }
