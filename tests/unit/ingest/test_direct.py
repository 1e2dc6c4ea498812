"""Which requests take the short way, and that those beside them are not disturbed.

What both ways have in common is in test_http, test_limits and test_server, which run over either.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.ingest.http_support import ANY_PORT, Site, chunked, get, head, post, until, unverified

from surehook.ingest.problems import Receive, Scope, Send
from surehook.ingest.server import Server

BODY = b'{"id":"1"}'


class Watched:
    """A port that remembers what its ASGI application was given."""

    def __init__(self) -> None:
        self.site = Site({"acme": unverified()}, max_bytes_in_flight=200_000)
        self.site.server = Server(self._note, ANY_PORT, self.site.settings, self.site.intake)
        self.long_way: list[str] = []

    async def _note(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.long_way.append(scope["path"])
        await self.site.app(scope, receive, send)


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    await watched.site.server.start()
    yield watched
    await watched.site.server.drain(0)


@pytest.mark.parametrize(
    "request_",
    [
        post(),
        post(path="/webhooks/acme"),
        post(path="/webhooks/acme/a/b.c-d_e"),
        post(BODY, "Content-Type: application/json", "Connection: close"),
        head("Transfer-Encoding: chunked") + chunked(BODY[:4], BODY[4:]),
    ],
)
async def test_a_plain_webhook_takes_the_short_way(watched: Watched, request_: bytes) -> None:
    assert (await watched.site.ask(request_)).status == 200
    assert len(watched.site.shelf.arrivals) == 1
    assert watched.long_way == []


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get("/livez"), 200),
        (get("/webhooks/acme"), 405),
        (post(path="/webhooks/nobody"), 404),
        (post(path="/webhooks/acme?a=b"), 200),
        (post(path="/webhooks/ac%6De"), 404),
        (post(BODY, "Content-Encoding: gzip"), 415),
        (post(BODY, "Expect: 100-continue"), 100),
        (post().replace(b"HTTP/1.1", b"HTTP/1.0"), 200),
    ],
)
async def test_everything_else_takes_the_long_way(watched: Watched, request_: bytes, status: int) -> None:
    assert (await watched.site.ask(request_)).status == status
    assert len(watched.long_way) == 1


async def test_what_is_pipelined_behind_a_webhook_waits_for_its_answer(watched: Watched) -> None:
    site = watched.site
    site.shelf.open.clear()
    async with await site.connect() as client:
        client.send(post(b'{"id":"1"}') + get("/livez") + post(b'{"id":"2"}') + post(b'{"id":"3"}'))
        await until(lambda: site.shelf.waiting == 1)
        assert watched.long_way == [], "nothing begins before the first one is answered"
        site.shelf.open.set()
        replies = [await client.reply() for _ in range(4)]
    assert [reply.status for reply in replies] == [200] * 4
    assert replies[1].json == {"status": "pass"}
    assert [event.external_id for each in site.shelf.arrivals for event in each.events] == ["1", "2", "3"]
    assert site.intake.bytes_in_flight == 0


async def test_a_connection_goes_either_way_from_request_to_request(watched: Watched) -> None:
    async with await watched.site.connect() as client:
        for number in range(3):
            client.send(post(b'{"id":"%d"}' % number))
            assert (await client.reply()).status == 200
            client.send(get("/livez"))
            assert (await client.reply()).status == 200
    assert watched.long_way == ["/livez"] * 3


async def test_a_body_that_is_given_up_no_longer_counts(watched: Watched) -> None:
    site = watched.site
    async with await site.connect() as client:
        client.send(head("Transfer-Encoding: chunked") + b"5\r\nabcde\r\n" + b"no number")
        assert (await client.reply()).status == 400
    await until(lambda: site.intake.bytes_in_flight == 0)
    assert watched.long_way == []
