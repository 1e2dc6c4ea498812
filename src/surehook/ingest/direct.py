"""The short way for plain webhooks: from the parser to the intake, without a scope, a task and messages.

A request whose shape allows it (a POST of HTTP/1.1 to a known provider, with a path that needs no unescaping, and nothing
before it on its connection that is still to be answered) needs nothing of what ASGI offers, and that is the larger part of
what a webhook costs. Everything else takes the long way, through ``IngestApp``, with the same limits and the same answers:
the same tests run over both. What is measured stands in docs/adr/0031-direct-ingest.md.
"""

from __future__ import annotations

import re
from functools import partial
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from surehook.config import ServerSettings
from surehook.ingest.intake import ROUTE, Intake, Post, header_problem
from surehook.ingest.problems import Answer, Problem
from surehook.ingest.protocol import GuardedProtocol, RefusedError

_ROUTE: Final = re.compile(ROUTE.encode())


class _Nobody:
    """Stands for the event by which uvicorn wakes an application."""

    def set(self) -> None:
        """There is none."""


_NOBODY: Final = _Nobody()


class _Exchange:
    """A request and its answer; looks to the protocol like the cycle that uvicorn makes for an ASGI application."""

    __slots__ = (
        "chunks",
        "disconnected",
        "keep_alive",
        "message_event",
        "more_body",
        "post",
        "response_complete",
        "response_started",
    )

    def __init__(self, post: Post, keep_alive: bool) -> None:
        self.post = post
        self.keep_alive = keep_alive
        self.chunks: list[bytes] = []
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.message_event = _NOBODY


class DirectProtocol(GuardedProtocol):
    """One connection of a Server that has an intake."""

    def __init__(self, config: Config, state: ServerState, settings: ServerSettings, intake: Intake) -> None:
        super().__init__(config, state, settings)
        self._intake = intake
        #: The request that goes the short way, until it is answered or given up.
        self._exchange: _Exchange | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._give_up()
        super().connection_lost(exc)

    def _begin_message(self) -> None:
        """Nothing but the parts that the parser fills: the scope is made when somebody needs one."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False

    def _dispatch(self) -> None:
        post = self._plain_post()
        if post is None:
            url, headers, expect = self.url, self.headers, self.expect_100_continue
            super()._begin_message()
            self.url, self.expect_100_continue = url, expect
            self.headers.extend(headers)
            super()._dispatch()
            return
        exchange: Any = _Exchange(post, self.parser.should_keep_alive())
        self._exchange = self._active = self.cycle = exchange

    def _plain_post(self) -> Post | None:
        active = self._active
        if self.expect_100_continue or self.pipeline or (active is not None and not active.response_complete):
            return None
        route = _ROUTE.fullmatch(self.url)
        if route is None or self.parser.get_method() != b"POST" or self.parser.get_http_version() != "1.1":
            return None
        provider = self._intake.providers.get(route[1].decode())
        if provider is None or header_problem(self.headers, provider.max_body) is not None:
            return None
        topic = route[2]
        remote = self.client[0] if self.client else ""
        return Post(provider, "" if topic is None else topic.decode(), self.headers, b"", remote)

    def _take_body(self, body: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            super()._take_body(body)
            return
        problem = self._intake.more(exchange.post, len(body))
        if problem is not None:
            self._refusal = problem
            raise RefusedError
        exchange.chunks.append(body)

    def _end_message(self) -> None:
        exchange = self._exchange
        if exchange is None:
            super()._end_message()
            return
        self._exchange = None
        exchange.more_body = False
        chunks = exchange.chunks
        exchange.post.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        self._intake.take(exchange.post, partial(self._reply, exchange))

    def _reply(self, exchange: _Exchange, answer: Answer) -> None:
        if exchange.disconnected:
            return
        exchange.response_started = exchange.response_complete = True
        keep_alive = exchange.keep_alive and not answer.closes
        self.transport.write(answer.raw(self.server_state.default_headers, keep_alive=keep_alive))
        if not keep_alive:
            self.transport.close()
        self.on_response_complete()

    def _refuse(self, problem: Problem) -> None:
        self._give_up()
        super()._refuse(problem)

    def _give_up(self) -> None:
        """What has not arrived as a whole will not be taken in."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            self._intake.release(exchange.post)
