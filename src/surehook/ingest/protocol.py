"""uvicorn's HTTP/1.1 protocol with the limits that it leaves to others.

uvicorn with httptools bounds neither the headers nor the time in which a request arrives (measured, docs/adr). Here every
connection has at most one deadline, looked at by one sweep a second instead of a timer for each request, and bytes are
counted while they come, so that a flood is stopped early. The class rests on internals of uvicorn 0.54: ``cycle``,
``flow``, ``pipeline``, ``_start_asgi_task``, ``on_response_complete``.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any, Final, cast

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from surehook.config import ServerSettings
from surehook.ingest.problems import (
    BAD_REQUEST,
    HEADERS_TOO_LARGE,
    OVERLOADED,
    RECEIVE_TIMEOUT,
    TOO_MANY_CONNECTIONS,
    URL_TOO_LONG,
    Problem,
)
from surehook.ingest.transport import Flow, Transport

#: Longest request target, in bytes.
MAX_URL: Final = 2048
#: Requests of one connection that may wait for the one before them.
MAX_PIPELINED: Final = 64
#: Seconds for which what a refused client still sends is read and thrown away: closing at once would reset the
#: connection, and the client might never see the answer (RFC 9112 section 9.6).
LINGER: Final = 2.0
#: Seconds that an idle connection is kept open after a drain began, for the request that may be on its way.
DRAIN_GRACE: Final = 0.25
#: In the scope of requests whose deadline this protocol watches over, so that the application sets no timer of its own.
DEADLINE_EXTENSION: Final = "surehook.receive_deadline"

#: The parser is fed at most so much at once, so that the counters look often enough.
_SLICE: Final = 16 * 1024
#: Bytes of chunk framing allowed beside the body: this much, and so many for each byte of body.
_FRAMING_ALLOWANCE: Final = 64 * 1024
_FRAMING_FACTOR: Final = 1

_EXTENSIONS: Final[dict[str, dict[object, object]]] = {DEADLINE_EXTENSION: {}}


class RefusedError(Exception):
    """Stops the parser; the protocol knows why."""


class GuardedProtocol(HttpToolsProtocol):
    """One connection of a Server."""

    transport: Transport

    def __init__(self, config: Config, state: ServerState, settings: ServerSettings) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self.access_log = False
        self._settings = settings
        self._max_headers = settings.max_headers
        self._receive_timeout = settings.receive_timeout / 1000
        self._keep_alive = settings.keep_alive / 1000
        #: When the sweep acts, in the loop's seconds; infinite while it is our turn.
        self._deadline = inf
        #: When a client that does not read its answers is given up.
        self._stalled = inf
        self._draining = False
        #: Nothing that comes from now on is looked at.
        self._deaf = False
        # The request that is arriving.
        self._receiving = False
        self._in_headers = False
        self._slice = 0
        self._headers_in_slice = False
        self._header_bytes = 0  # at least; with the whole slice in which they began
        self._body_in_slice = 0
        self._body_bytes = 0
        self._framing_bytes = 0
        self._refusal: Problem = BAD_REQUEST
        #: The answer to a refused request, while earlier ones are still to be answered.
        self._last_word: Problem | None = None
        #: The request that the application works on; uvicorn's ``cycle`` is the newest one, which may still queue.
        self._active: RequestResponseCycle | None = None

    # --- the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's is
        if len(self.connections) >= self._settings.max_connections:
            transport.write(TOO_MANY_CONNECTIONS.close.raw(self.server_state.default_headers))
            self._deaf = True
            transport.close()
            return
        super().connection_made(Transport(transport, self))
        self.flow = Flow(self.transport, self.pipeline)
        self._deadline = self.loop.time() + self._keep_alive

    def connection_lost(self, exc: Exception | None) -> None:
        if self.transport is None:
            return
        self.transport.closing = True
        for cycle in self._unanswered():
            cycle.disconnected = True
            cycle.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def hang_up(self) -> None:
        """Close once what was written is sent; while the client may still be sending, read on for a moment."""
        self._deadline = self.loop.time() + LINGER
        raw = self.transport.raw
        if (self._receiving or self._deaf or self.pipeline) and raw.can_write_eof() and not raw.is_closing():
            self._deaf = True
            self.pipeline.clear()
            self.flow.resume_reading()
            raw.write_eof()
        else:
            raw.close()

    def abort(self) -> None:
        """Close at once; what the application still answers goes nowhere."""
        self.transport.closing = True
        self.transport.raw.abort()

    def shutdown(self) -> None:
        """Begin to drain: answer what has arrived or is arriving, with ``connection: close``, then close."""
        self._draining = True
        if self._receiving and self._in_headers:
            return
        pending = self._unanswered()
        if pending:
            pending[-1].keep_alive = False
        else:
            self._deadline = min(self._deadline, self.loop.time() + DRAIN_GRACE)

    def sweep(self, now: float) -> None:
        """Called about once a second: act if the deadline of this connection has passed."""
        if now >= self._stalled:
            self.abort()
        elif now < self._deadline:
            return
        elif self.transport.is_closing():
            self.abort()
        elif self._receiving:
            self._refuse(RECEIVE_TIMEOUT)
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        """The client does not read its answer: it has as long for that as for a request."""
        super().pause_writing()
        self._stalled = self.loop.time() + self._receive_timeout

    def resume_writing(self) -> None:
        """The client reads again."""
        super().resume_writing()
        self._stalled = inf

    # --- what comes in

    def data_received(self, data: bytes) -> None:
        if len(data) <= _SLICE:
            self._feed(data)
            return
        view = memoryview(data)
        for start in range(0, len(data), _SLICE):
            self._feed(view[start : start + _SLICE])

    def _feed(self, data: bytes | memoryview[Any]) -> None:
        if self._deaf:
            return
        self._slice = len(data)
        self._headers_in_slice = False
        self._body_in_slice = 0
        try:
            self.parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(self._refusal)
            return
        if self._receiving and not self._headers_in_slice:
            self._count_slice()

    def _count_slice(self) -> None:
        """The slice ended inside the headers, or began and ended inside the body: it is body and its framing."""
        if self._in_headers:
            self._header_bytes += self._slice
            if self._header_bytes > self._settings.max_header_bytes + MAX_URL + _SLICE:
                self._refuse(HEADERS_TOO_LARGE if self.headers else URL_TOO_LONG)
            return
        self._framing_bytes += self._slice - self._body_in_slice
        if self._framing_bytes > _FRAMING_ALLOWANCE + _FRAMING_FACTOR * self._body_bytes:
            self._refuse(BAD_REQUEST)

    def on_message_begin(self) -> None:
        self._begin_message()
        self._refusal = BAD_REQUEST
        self._receiving = self._in_headers = True
        self._header_bytes = self._body_bytes = self._framing_bytes = 0
        self._deadline = self.loop.time() + self._receive_timeout

    def _begin_message(self) -> None:
        """Make room for a request."""
        super().on_message_begin()
        cast(dict[str, object], self.scope)["extensions"] = _EXTENSIONS

    def on_header(self, name: bytes, value: bytes) -> None:
        """As uvicorn's, but trailers are dropped: they must not pass for headers (RFC 9110 section 6.5.1)."""
        if not self._in_headers:
            return
        headers = self.headers
        if len(headers) >= self._max_headers:  # now, not when they are complete: each costs memory
            self._refusal = HEADERS_TOO_LARGE
            raise RefusedError
        # white space after a value is none of it (RFC 9110 section 5.5)
        name, value = name.lower(), value.rstrip(b" \t")
        if name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        headers.append((name, value))

    def on_headers_complete(self) -> None:
        problem = self._fault()
        if problem is not None:
            self._refusal = problem
            raise RefusedError
        self._dispatch()
        self._in_headers = False
        self._headers_in_slice = True
        if self._draining:
            self.cycle.keep_alive = False

    def _dispatch(self) -> None:
        """Choose who answers a request whose headers are complete and good."""
        super().on_headers_complete()

    def _fault(self) -> Problem | None:
        """What is wrong with the headers of this request, beyond what the parser has refused already."""
        settings = self._settings
        headers = self.headers
        if len(self.pipeline) >= MAX_PIPELINED:
            return OVERLOADED
        if len(self.url) > MAX_URL:
            return URL_TOO_LONG
        if len(headers) > settings.max_headers:
            return HEADERS_TOO_LARGE
        if self._header_bytes + self._slice > settings.max_header_size and self._oversized():
            return HEADERS_TOO_LARGE
        return self._ambiguity([name for name, _ in headers])

    def _oversized(self) -> bool:
        sizes = [len(name) + len(value) for name, value in self.headers]
        limit = self._settings.max_header_size
        return sum(sizes) > self._settings.max_header_bytes or any(size > limit for size in sizes)

    def _ambiguity(self, names: list[bytes]) -> Problem | None:
        """Whatever another HTTP implementation might read in another way.

        An upgrade is refused because the parser takes the body that follows for another protocol, and uvicorn for the
        next request.
        """
        version = self.parser.get_http_version()
        hosts = names.count(b"host")
        if version not in ("1.1", "1.0") or hosts > 1 or (hosts == 0 and version == "1.1"):
            return BAD_REQUEST
        if self.parser.should_upgrade():
            return BAD_REQUEST
        if b"transfer-encoding" in names:
            chunked = dict(self.headers)[b"transfer-encoding"].lower() == b"chunked"
            return None if chunked and version == "1.1" else BAD_REQUEST
        return None

    def on_body(self, body: bytes) -> None:
        size = len(body)
        self._body_in_slice += size
        self._body_bytes += size
        self._take_body(body)

    def _take_body(self, body: bytes) -> None:
        """More of the body of the request that is arriving."""
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._receiving = False
        self._deadline = inf
        self._end_message()

    def _end_message(self) -> None:
        """The request has arrived as a whole."""
        cycle = self.cycle
        if cycle.response_complete:
            self._await_next()
            return
        cycle.more_body = False
        cycle.message_event.set()

    # --- what goes out

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._active = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """As uvicorn's, but the idle timeout is a deadline for the sweep."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._receiving:
            # What it sends may have waited for us: its time begins anew.
            self._deadline = self.loop.time() + self._receive_timeout
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self.flow.resume_reading()
            self._start_asgi_task(cycle, app)
        elif self._last_word is not None:
            self._part(self._last_word)
        else:
            self.flow.resume_reading()
            if not self._receiving:
                self._await_next()

    def _await_next(self) -> None:
        if self._draining:
            self.transport.close()
        else:
            self._deadline = self.loop.time() + self._keep_alive

    def _unanswered(self) -> list[RequestResponseCycle]:
        """The requests that were read, at least their headers, and not answered; oldest first."""
        cycles = [cycle for cycle, _ in reversed(self.pipeline)]
        if self._active is not None and not self._active.response_complete:
            cycles.insert(0, self._active)
        return cycles

    def _refuse(self, problem: Problem) -> None:
        """Answer the request that is arriving, in its turn, and read no more of this connection."""
        pending = self._unanswered()
        failing = pending.pop() if pending and pending[-1] is self.cycle and pending[-1].more_body else None
        answered = failing.response_started if failing is not None else not self._in_headers
        self._deaf = True
        self._receiving = False
        self._deadline = inf
        if pending:
            # Now, this answer would be taken for that of an earlier request.
            if failing is not None:
                self.pipeline.popleft()
            self._last_word = problem
            return
        self._part(None if answered else problem)
        if failing is not None:
            failing.disconnected = True
            failing.message_event.set()

    def _part(self, last_word: Problem | None) -> None:
        """Say this, if anything, and close."""
        if last_word is not None:
            self.transport.write(last_word.close.raw(self.server_state.default_headers))
        self.transport.close()
