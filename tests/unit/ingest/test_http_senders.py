"""What single senders insist on over HTTP: other methods than POST, handshakes, answers without a body."""

from __future__ import annotations

import pytest
from tests.unit.ingest.http_support import Site, Sites, get, signed

from surehook.clock import Millis
from surehook.packs import Draft, Provider

SECRET = "s3cret"


def delivered(provider: Provider, now: Millis, body: bytes, method: str = "POST") -> bytes:
    """What the sender sends, as bytes."""
    sent = provider.sign(Draft(body, now, "e-1", "a", method=method))
    lines = [f"{method} /webhooks/{provider.name} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in sent.headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def site_of(sites: Sites, pack: str) -> tuple[Site, Provider]:
    provider = signed(pack, SECRET)
    return await sites.site({pack: provider}), provider


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_intercom_finds_its_address(sites: Sites, method: bytes) -> None:
    site, _ = await site_of(sites, "intercom")
    reply = await site.ask(get("/webhooks/intercom").replace(b"GET", method, 1))
    assert (reply.status, reply.body) == (200, b"")
    assert site.shelf.arrivals == []


async def test_dropbox_gets_its_challenge_back(sites: Sites) -> None:
    site, _ = await site_of(sites, "dropbox")
    reply = await site.ask(get("/webhooks/dropbox?challenge=hvj760wnk"))
    assert (reply.status, reply.body) == (200, b"hvj760wnk")
    assert reply.headers["content-type"].startswith("text/plain")
    assert reply.headers["x-content-type-options"] == "nosniff"
    forged = await site.ask(get("/webhooks/dropbox?challenge=%3Cscript%3E"))
    assert forged.status == 401
    assert b"script" not in forged.body


async def test_xero_gets_a_status_and_nothing_else(sites: Sites) -> None:
    site, provider = await site_of(sites, "xero")
    trial = delivered(provider, site.clock.now(), b'{"events":[],"entropy":"X"}')
    event = delivered(provider, site.clock.now(), provider.sample())
    replies = [await site.ask(data) for data in (trial, event, trial.replace(b'"X"', b'"Y"'))]
    assert [(reply.status, reply.body) for reply in replies] == [(200, b""), (200, b""), (401, b"")]
    assert not any("set-cookie" in reply.headers for reply in replies)
    assert len(site.shelf.arrivals) == 1


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "POST"])
async def test_a_zendesk_trigger_may_use_any_method(sites: Sites, method: str) -> None:
    site, provider = await site_of(sites, "zendesk")
    data = delivered(provider, site.clock.now(), b'{"ticket":"7"}', method)
    assert (await site.ask(data)).status == 200
    assert (await site.ask(data.replace(b'"7"', b'"8"'))).status == 401
    [arrival] = site.shelf.arrivals
    assert [event.external_id for event in arrival.events] == ["e-1"]
