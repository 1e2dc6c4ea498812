"""Ingest as a bare ASGI application: read the request within its limits, let the provider judge it, store it, answer.

The one rule behind the answers: a 2xx only for what is durable, a 4xx only for what no repetition can mend, and 503 for
everything that is our trouble, because some providers never send again after a 4xx.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from surehook.clock import Clock, Millis
from surehook.config import ServerSettings
from surehook.errors import Overloaded, Unavailable
from surehook.ids import EVENT_PREFIX, PayloadId, typeid, uuid7
from surehook.ingest.health import PATHS, HealthApp
from surehook.ingest.mount import nothing, serve_lifespan
from surehook.ingest.packs import Challenge, Provider, Received, Refused, Request
from surehook.ingest.problems import (
    BAD_SIGNATURE,
    BODY_TOO_LARGE,
    ENCODED_BODY,
    NOT_FOUND,
    OVERLOADED,
    POST_ONLY,
    RECEIVE_TIMEOUT,
    UNAVAILABLE,
    Answer,
    Problem,
    Receive,
    Scope,
    Send,
    answer,
)
from surehook.ingest.protocol import DEADLINE_EXTENSION
from surehook.ingest.rejections import harmless
from surehook.model import Accepted, Arrival, Headers, Payload, Rejection
from surehook.states import Reason
from surehook.telemetry import new_traceparent, parse_traceparent

logger = logging.getLogger(__name__)

_ROUTE: Final = re.compile(
    r"/webhooks/(?P<provider>[a-z0-9][a-z0-9_-]{0,63})(?:/(?P<topic>[A-Za-z0-9][A-Za-z0-9._/-]{0,199}))?"
)
_JSON: Final = b"application/json"
#: Milliseconds between two log lines about requests that could not be stored.
_COMPLAIN_EVERY: Final = 1_000


#: A body of up to this size is taken in when the bodies in flight have used up their budget; ``max_connections`` bounds
#: what that adds.
_ALWAYS: Final = 64 * 1024
#: A body beyond this size is verified and read in a thread, so that the others do not wait for it.
_LARGE: Final = 256 * 1024


class Accepting(Protocol):
    """The inbox, as ingest sees it."""

    async def accept(self, arrival: Arrival) -> list[Accepted]:
        """Store one request; see ``surehook.inbox.Inbox``."""
        ...


class Noting(Protocol):
    """The rejection log, as ingest sees it."""

    def note(self, rejection: Rejection) -> None:
        """Keep a rejection without waiting."""
        ...


class _StopError(Exception):
    """The request is answered without being read to its end."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem


class _GoneError(Exception):
    """The client went away before its request was complete: there is nobody to answer."""


class _Held:
    """Bytes of one body that count against the budget of all."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


class _Post(msgspec.Struct):
    """A request that has arrived as a whole."""

    provider: Provider
    topic: str
    headers: Headers
    body: bytes
    now: Millis
    remote: str


class IngestApp:
    """``POST /webhooks/{provider}[/{topic}]``, and /livez and /readyz where ``health`` is given.

    Runs on any ASGI server, alone or mounted under a prefix. Where the server does not watch over the time in which a
    request arrives (only surehook's own does), it is done here.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        inbox: Accepting,
        rejections: Noting,
        clock: Clock,
        settings: ServerSettings,
        health: HealthApp | None = None,
    ) -> None:
        self._providers = {name: provider for name, provider in providers.items() if provider.enabled}
        self._replies = {name: _Reply(provider) for name, provider in self._providers.items()}
        self._inbox = inbox
        self._rejections = rejections
        self._clock = clock
        self._health = health
        self._receive_timeout = settings.receive_timeout / 1000
        self._ack_timeout = settings.ack_timeout / 1000
        self._budget = settings.max_bytes_in_flight
        self._commits: set[asyncio.Task[list[Accepted]]] = set()
        self._unstored = 0
        self._complained_at = 0
        #: Bytes of bodies that are being received or committed.
        self.bytes_in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await serve_lifespan(nothing, nothing, receive, send)
            return
        if kind != "http":
            raise NotImplementedError(f"webhooks are received over HTTP, not {kind}")
        try:
            reply = await self._answer(scope, receive)
        except _StopError as stop:
            reply = stop.problem.close
        except _GoneError:
            return
        except Exception:  # our trouble, whatever it is: the sender is to come again
            logger.exception("a webhook could not be handled")
            reply = UNAVAILABLE.close
        await reply.send(send)

    async def drain(self) -> None:
        """Wait for the commits whose requests were given up."""
        if self._commits:
            await asyncio.wait(self._commits)

    # --- reading

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        path = _path_inside(scope)
        route = _ROUTE.fullmatch(path)
        if route is None:
            if self._health is not None and path in PATHS:
                return await self._health.answer(scope["method"], path)
            return NOT_FOUND.close
        if scope["method"] != "POST":
            return POST_ONLY.close
        provider = self._providers.get(route["provider"])
        if provider is None:
            return NOT_FOUND.close
        held = _Held()
        try:
            body = await self._body(scope, receive, provider.max_body, held)
            return await self._judge(self._post(scope, provider, route["topic"] or "", body), scope, held)
        finally:
            self.bytes_in_flight -= held.size

    async def _body(self, scope: Scope, receive: Receive, limit: int, held: _Held) -> bytes:
        _check_headers(scope["headers"], limit)
        if DEADLINE_EXTENSION in (scope.get("extensions") or ()):
            return await self._read(receive, limit, held)
        try:
            async with asyncio.timeout(self._receive_timeout):
                return await self._read(receive, limit, held)
        except TimeoutError:
            raise _StopError(RECEIVE_TIMEOUT) from None

    async def _read(self, receive: Receive, limit: int, held: _Held) -> bytes:
        chunks: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise _GoneError
            chunk: bytes = message.get("body", b"")
            self._hold(held, len(chunk))
            if held.size > limit:
                raise _StopError(BODY_TOO_LARGE)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _hold(self, held: _Held, size: int) -> None:
        held.size += size
        self.bytes_in_flight += size
        # small bodies always get in, so that a few large ones that never end cannot keep all others out
        if self.bytes_in_flight > self._budget and held.size > _ALWAYS:
            self._complain("the bodies in flight have used up max_bytes_in_flight")
            raise _StopError(OVERLOADED)

    def _post(self, scope: Scope, provider: Provider, topic: str, body: bytes) -> _Post:
        headers = tuple(
            [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        )
        client = scope.get("client")
        return _Post(provider, topic, headers, body, self._clock.now(), client[0] if client else "")

    # --- judging

    async def _judge(self, post: _Post, scope: Scope, held: _Held) -> Answer:
        request = Request(
            provider=post.provider.name,
            topic=post.topic,
            method="POST",
            headers=post.headers,
            body=post.body,
            now=post.now,
            query=scope["query_string"].decode("latin-1"),
        )
        if len(post.body) > _LARGE:
            verdict = await asyncio.to_thread(post.provider.receive, request)
        else:
            verdict = post.provider.receive(request)
        if isinstance(verdict, Received):
            return await self._store(_arrival(post, verdict), held)
        if isinstance(verdict, Challenge):
            return answer(verdict.status, verdict.body, verdict.content_type.encode("latin-1"))
        self._rejections.note(_rejection(post, verdict))
        return BAD_SIGNATURE.keep

    # --- storing

    async def _store(self, arrival: Arrival, held: _Held) -> Answer:
        """Wait for the commit, but never cancel it: the client's patience and ours end, the commit does not."""
        commit = asyncio.get_running_loop().create_task(self._commit(arrival, held.size))
        held.size = 0  # the commit gives the bytes back
        self._commits.add(commit)
        commit.add_done_callback(self._settled)
        await asyncio.wait((commit,), timeout=self._ack_timeout)
        if not commit.done():
            self._complain("the database did not commit within ack_timeout")
            return UNAVAILABLE.keep
        try:
            accepted = commit.result()
        except Overloaded as error:
            self._complain(str(error))
            return OVERLOADED.keep
        except Unavailable as error:
            self._complain(str(error))
            return UNAVAILABLE.keep
        return self._replies[arrival.payload.provider].to(accepted)

    async def _commit(self, arrival: Arrival, size: int) -> list[Accepted]:
        try:
            return await self._inbox.accept(arrival)
        finally:
            self.bytes_in_flight -= size

    def _settled(self, commit: asyncio.Task[list[Accepted]]) -> None:
        self._commits.discard(commit)
        if not commit.cancelled():
            commit.exception()  # nobody may be left to ask for it

    def _complain(self, why: str) -> None:
        """Log that requests are not stored; under a flood one line stands for many."""
        self._unstored += 1
        now = self._clock.now()
        if now - self._complained_at >= _COMPLAIN_EVERY:
            logger.warning("%d webhooks were answered 503: %s", self._unstored, why)
            self._unstored, self._complained_at = 0, now


def _path_inside(scope: Scope) -> str:
    """The path below the prefix that the application is mounted under.

    Empty for a path with escapes: nothing that is served here needs any, so what is written in two ways is refused.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root + "/"):
        path = path[len(root) :]
    raw: bytes | None = scope.get("raw_path")
    if raw is not None and not raw.endswith(path.encode("utf-8", "surrogateescape")):
        return ""
    return path


def _check_headers(headers: list[tuple[bytes, bytes]], limit: int) -> None:
    for name, value in headers:
        if name == b"content-length" and not (value.isdigit() and len(value) < 20 and int(value) <= limit):
            raise _StopError(BODY_TOO_LARGE)
        if name == b"content-encoding" and value.lower() != b"identity":
            raise _StopError(ENCODED_BODY)


def _arrival(post: _Post, verdict: Received) -> Arrival:
    payload = Payload(
        id=PayloadId(uuid7(post.now)),
        provider=post.provider.name,
        topic=post.topic,
        body=post.body,
        headers=verdict.kept_headers,
        content_type=dict(post.headers).get("content-type", ""),
        sha256=hashlib.sha256(post.body).digest(),
        received_at=post.now,
        secret=verdict.secret,
    )
    return Arrival(
        payload=payload,
        events=verdict.events,
        id_is_signed=post.provider.id_is_signed,
        traceparent=traceparent(post.headers),
    )


def _rejection(post: _Post, verdict: Refused) -> Rejection:
    return Rejection(
        provider=post.provider.name,
        topic=post.topic,
        reason=Reason.BAD_SIGNATURE,
        detail=verdict.detail,
        headers=harmless(post.headers),
        body_sha256=hashlib.sha256(post.body).digest(),
        body_size=len(post.body),
        received_at=post.now,
        remote=post.remote,
    )


def traceparent(headers: Headers) -> str:
    """The request's W3C trace context as version 00, or a new one where it has none, several, or a malformed one."""
    given = [value for name, value in headers if name == "traceparent"]
    found = parse_traceparent(given[0].strip()) if len(given) == 1 else None
    return str(found) if found is not None else new_traceparent()


class _Reply:
    """How a provider's settings want an accepted request to be answered."""

    def __init__(self, provider: Provider) -> None:
        self._status = provider.response_status or 200
        self._fixed: Answer | None = None
        if provider.response_body is not None:
            body = provider.response_body.encode()
            content_type = _JSON if _is_json(body) else b"text/plain; charset=utf-8"
            self._fixed = answer(self._status, body, content_type)

    def to(self, accepted: list[Accepted]) -> Answer:
        """The answer that says what became of each event."""
        if self._fixed is not None:
            return self._fixed
        events = ",".join(
            f'{{"id":"{typeid(EVENT_PREFIX, each.id)}","duplicate":{"true" if each.duplicate else "false"}}}'
            for each in accepted
        )
        return answer(self._status, f'{{"received":true,"events":[{events}]}}'.encode("ascii"), _JSON)


def _is_json(body: bytes) -> bool:
    try:
        msgspec.json.decode(body)
    except msgspec.DecodeError:
        return False
    return True
