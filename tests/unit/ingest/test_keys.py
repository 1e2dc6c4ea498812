"""Requests that are verified with keys which are fetched first: from the port to the sender's server and back."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.unit.ingest.http_support import Client, Site, Sites, post, problem, until
from tests.unit.packs.key_server import KeyServer, serving

from surehook.config import MIB, ProviderSettings
from surehook.packs import (
    BadSignature,
    Delivery,
    Draft,
    Found,
    KeySource,
    KeyStore,
    Pack,
    Provider,
    Reads,
    Request,
    Scheme,
    Setup,
)


class Digested:
    """The body's digest after a word that has to be fetched, from as many places as the body names."""

    def __init__(self, url: Callable[[str], str], store: KeyStore) -> None:
        self._url = url
        self._store = store

    def verify(self, request: Request) -> str:
        words = [
            self._store.find(KeySource(self._url(f"/{name}"), Found), request.now)
            for name in request.only("x-words").split(",")
        ]
        if hashlib.sha256(b"".join([*words, request.body])).hexdigest() != request.only("x-digest"):
            raise BadSignature("another digest")
        return "a word"

    def sign(self, draft: Draft) -> Delivery:
        raise NotImplementedError


class Worded(Pack):
    """Its words come from a server of keys."""

    name = "worded"
    docs_url = "https://example.com"
    reads = Reads(id="body:/id")

    def __init__(self, server: KeyServer) -> None:
        self._server = server

    def scheme(self, setup: Setup) -> Scheme:
        return Digested(self._server.url, setup.store)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[KeyServer]:
    async with serving(tmp_path) as server:
        yield server


async def worded(sites: Sites, server: KeyServer, seconds: float = 20.0) -> Site:
    setup = Setup(ProviderSettings(), (), store=KeyStore(server.fetch(seconds)))
    return await sites.site({"acme": Provider("acme", Worded(server), setup, MIB)})


def signed(body: bytes = b'{"id":"1"}', words: str = "a") -> bytes:
    """Each word is "keys"."""
    digest = hashlib.sha256(b"keys" * len(words.split(",")) + body).hexdigest()
    return post(body, f"X-Words: {words}", f"X-Digest: {digest}")


async def test_keys_are_fetched_once_and_the_request_is_judged_with_them(
    sites: Sites, server: KeyServer
) -> None:
    site = await worded(sites, server)
    for number in range(3):
        reply = await site.ask(signed(b'{"id":"%d"}' % number))
        assert reply.status == 200
    assert [path for _, path, _ in server.asked] == ["/a"]
    assert len(site.shelf.arrivals) == 3
    assert (await site.ask(signed().replace(b'"1"', b'"2"'))).status == 401
    assert site.intake.bytes_in_flight == 0


async def test_a_forged_request_is_refused_after_the_fetch_as_before_it(
    sites: Sites, server: KeyServer
) -> None:
    site = await worded(sites, server)
    for _ in range(2):
        reply = await site.ask(signed().replace(b'"1"', b'"2"'))
        assert (reply.status, problem(reply)) == (401, "bad-signature")
    assert [note.detail for note in site.notes.all] == ["another digest"] * 2


async def test_without_keys_it_is_our_trouble_and_no_refusal(sites: Sites, server: KeyServer) -> None:
    server.answer = (500, b"", {})
    site = await worded(sites, server)
    for _ in range(2):
        reply = await site.ask(signed())
        assert (reply.status, problem(reply), reply.headers["retry-after"]) == (503, "unavailable", "5")
    assert len(server.asked) == 1
    assert not site.shelf.arrivals
    assert not site.notes.all
    assert site.intake.bytes_in_flight == 0


async def test_a_sender_of_keys_that_hangs_is_given_up(sites: Sites, server: KeyServer) -> None:
    server.open.clear()
    site = await worded(sites, server, seconds=0.3)
    assert (await site.ask(signed())).status == 503


async def test_keys_are_fetched_twice_for_a_request_and_no_more(sites: Sites, server: KeyServer) -> None:
    site = await worded(sites, server)
    assert (await site.ask(signed(words="a,b"))).status == 200
    assert (await site.ask(signed(words="c,d,e"))).status == 503
    assert [path for _, path, _ in server.asked] == ["/a", "/b", "/c", "/d"]


async def test_a_large_body_is_judged_with_fetched_keys_too(sites: Sites, server: KeyServer) -> None:
    site = await worded(sites, server)
    large = b'{"id":"%s"}' % (b"x" * 300_000)
    assert (await site.ask(signed(large))).status == 200
    assert len(site.shelf.arrivals) == 1


async def test_while_keys_are_fetched_the_bytes_count_and_others_go_on(
    sites: Sites, server: KeyServer
) -> None:
    site = await worded(sites, server)
    assert (await site.ask(signed(words="a"))).status == 200
    server.open.clear()
    async with await site.connect() as waiting, await site.connect() as gone:
        waiting.send(signed(b'{"id":"2"}', words="b"))
        gone.send(signed(b'{"id":"3"}', words="b"))
        await until(lambda: site.intake.bytes_in_flight == 20)
        assert (await site.ask(signed(words="a"))).status == 200
        assert site.intake.bytes_in_flight == 20
        gone.writer.close()
        draining = asyncio.create_task(site.intake.drain())
        await asyncio.sleep(0.05)
        assert not draining.done()
        server.open.set()
        assert (await waiting.reply()).status == 200
        await draining
    await until(lambda: site.intake.bytes_in_flight == 0)
    assert len(site.shelf.arrivals) == 4
    assert [path for _, path, _ in server.asked] == ["/a", "/b"]


async def test_requests_on_one_connection_are_answered_in_their_order(
    sites: Sites, server: KeyServer
) -> None:
    site = await worded(sites, server)
    async with await Client.to(site.port) as client:
        client.send(signed(words="a") + signed(words="b") + signed(words="a").replace(b'"1"', b'"2"'))
        assert [(await client.reply()).status for _ in range(3)] == [200, 200, 401]
