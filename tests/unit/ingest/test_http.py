"""What ingest answers, and what it hands to the inbox."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import re
from typing import Any

import pytest
from tests.unit.ingest.http_support import (
    Site,
    Sites,
    get,
    head,
    post,
    problem,
    signed,
    until,
    unverified,
)

from surehook.clock import Millis
from surehook.errors import CommitUnknown, Overloaded, Unavailable
from surehook.ids import typeid
from surehook.ingest.intake import traceparent
from surehook.ingest.rejections import reduced
from surehook.packs import Draft, Provider
from surehook.states import Reason

SECRET = "It's a Secret to Everybody"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def github_post(provider: Provider, now: int, body: bytes, *lines: str, delivery: str = "d-1") -> bytes:
    headers = provider.sign(Draft(body, Millis(now), delivery, "issues.opened")).headers
    return post(
        body, *(f"{name}: {value}" for name, value in headers.items()), *lines, path="/webhooks/github/code"
    )


async def github(sites: Sites) -> tuple[Site, Provider]:
    provider = signed("github", SECRET)
    return await sites.site({"github": provider}), provider


async def test_a_signed_webhook_is_stored_and_answered_with_its_event(sites: Sites) -> None:
    site, provider = await github(sites)
    body = b'{"action":"opened","repository":{"full_name":"octo-org/octo-repo"}}'
    reply = await site.ask(github_post(provider, site.clock.now(), body, f"Traceparent: {TRACE}"))

    [arrival] = site.shelf.arrivals
    [event] = arrival.events
    assert reply.status == 200
    assert reply.headers["content-type"] == "application/json"
    assert reply.body == (
        b'{"received":true,"events":[{"id":"%s","duplicate":false}]}' % typeid("evt", event.id).encode()
    )
    payload = arrival.payload
    assert (payload.provider, payload.topic, payload.body) == ("github", "code", body)
    assert payload.sha256 == hashlib.sha256(body).digest()
    assert payload.content_type == "application/json"
    assert payload.secret == "env:SECRET"
    assert payload.received_at == site.clock.now()
    assert ("x-github-delivery", "d-1") in payload.headers
    assert (event.external_id, event.type, event.subject) == ("d-1", "issues.opened", "octo-org/octo-repo")
    assert arrival.id_is_signed is False
    assert arrival.traceparent == TRACE


async def test_a_duplicate_is_answered_200_and_named_as_one(sites: Sites) -> None:
    site = await sites.site()
    replies = [await site.ask(post(b'{"id":"7"}')) for _ in range(2)]
    assert [reply.status for reply in replies] == [200, 200]
    assert [reply.json["events"][0]["duplicate"] for reply in replies] == [False, True]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: re.sub(rb"x-hub-signature-256: [^\r]*\r\n", b"", data),
        lambda data: data.replace(b"sha256=", b"sha1="),
        lambda data: data.replace(b"opened", b"closed"),
        lambda data: re.sub(rb"sha256=[^\r]*", b"sha256=" + b"0" * 64, data),
    ],
    ids=["missing", "other algorithm", "other body", "wrong"],
)
async def test_a_bad_signature_is_401_that_never_says_why_and_is_noted(sites: Sites, spoil) -> None:  # type: ignore[no-untyped-def]  # the lambdas above
    site, provider = await github(sites)
    data = github_post(provider, site.clock.now(), b'{"action":"opened"}', "Authorization: Bearer hunter2")
    reply = await site.ask(spoil(data))
    assert reply.status == 401
    assert "www-authenticate" in reply.headers
    assert problem(reply) == "bad-signature"
    assert reply.json["detail"] == "The request could not be authenticated."
    assert site.shelf.arrivals == []
    [note] = site.notes.all
    assert (note.provider, note.topic, note.reason) == ("github", "code", Reason.BAD_SIGNATURE)
    assert note.detail
    assert note.remote == "127.0.0.1"
    assert note.body_size == len(b'{"action":"opened"}')
    assert ("x-github-delivery", "d-1") in note.headers
    assert "authorization" not in dict(note.headers)
    assert (note.method, note.query, len(note.body or b"")) == ("POST", "", note.body_size)
    kept = reduced(note, as_it_came=False)
    assert "x-hub-signature-256" not in dict(kept.headers)
    assert kept.body is None


async def test_a_challenge_is_answered_by_the_pack_and_not_stored(sites: Sites) -> None:
    slack = signed("slack", "8f742231b10e8888abcd99yyyzzz85a5")
    site = await sites.site({"slack": slack})
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw1aB", "token": "x"}).encode()
    headers = slack.sign(Draft(body, site.clock.now(), "Ev1", "url_verification")).headers
    reply = await site.ask(post(body, *(f"{k}: {v}" for k, v in headers.items()), path="/webhooks/slack"))
    assert reply.status == 200
    assert b"3eZbrw1aB" in reply.body
    assert site.shelf.arrivals == []


@pytest.mark.parametrize(
    "path", ["/webhooks/acme", "/webhooks/acme/a", "/webhooks/acme/A/b.c_d-9", "/webhooks/acme/" + "t" * 200]
)
async def test_paths_that_are_served(sites: Sites, path: str) -> None:
    site = await sites.site()
    assert (await site.ask(post(path=path))).status == 200
    assert site.shelf.arrivals[0].payload.topic == path.removeprefix("/webhooks/acme").removeprefix("/")


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/webhooks",
        "/webhooks/",
        "/webhooks/other",
        "/webhooks/disabled",
        "/webhooks/Acme",
        "/webhooks/-acme",
        "/webhooks/" + "a" * 65,
        "/webhooks/acme/",
        "/webhooks/acme//x",
        "/webhooks/acme/.x",
        "/webhooks/acme/" + "t" * 201,
        "/webhooks/acme/a;b",
        "/webhooks/acme/a%00",
        "/webhooks/%61cme/orders",
        "/webhooks/acme%2Forders",
        "/webhooks/acme/%2e%2e/x",
        "//webhooks/acme",
        "/x/webhooks/acme",
    ],
)
async def test_anything_else_is_404_before_the_body_is_read(sites: Sites, path: str) -> None:
    site = await sites.site({"acme": unverified(), "disabled": unverified("disabled", enabled=False)})
    reply = await site.ask(head("Content-Length: 1000", path=path))
    assert reply.status == 404
    assert problem(reply) == "not-found"
    assert reply.closes


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_other_methods_are_405(sites: Sites, method: str) -> None:
    site = await sites.site()
    async with await site.connect() as client:
        client.send(get("/webhooks/acme/orders").replace(b"GET", method.encode(), 1))
        answer = await client.closed()
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nallow: POST\r\n" in answer
    assert site.shelf.arrivals == []


@pytest.mark.parametrize(
    ("settings", "status", "content_type", "body"),
    [
        ({"response_status": 202}, 202, "application/json", None),
        ({"response_body": "[accepted]"}, 200, "text/plain; charset=utf-8", b"[accepted]"),
        ({"response_body": '{"ok":true}', "response_status": 201}, 201, "application/json", b'{"ok":true}'),
        ({"response_status": 204}, 204, None, b""),
    ],
)
async def test_a_provider_can_ask_for_its_own_answer(
    sites: Sites, settings: dict[str, Any], status: int, content_type: str | None, body: bytes | None
) -> None:
    site = await sites.site({"acme": unverified(**settings)})
    reply = await site.ask(post())
    assert reply.status == status
    assert reply.headers.get("content-type") == content_type
    if body is None:
        assert reply.json["received"] is True
    else:
        assert reply.body == body
    assert len(site.shelf.arrivals) == 1


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (Overloaded("10000 wait"), "overloaded"),
        (Unavailable("database is locked: /srv/secret.db"), "unavailable"),
        (CommitUnknown("disk I/O error"), "unavailable"),
        (ZeroDivisionError("/srv/secret.db"), "unavailable"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value,
)
async def test_our_trouble_is_503_with_retry_after_and_tells_nothing(
    sites: Sites, error: Exception, slug: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = await sites.site()
    site.shelf.error = error
    with caplog.at_level(logging.WARNING):
        reply = await site.ask(post())
    assert reply.status == 503
    assert problem(reply) == slug
    assert int(reply.headers["retry-after"]) > 0
    assert b"secret.db" not in reply.body
    assert str(error) in caplog.text
    assert site.intake.bytes_in_flight == 0


async def test_a_provider_that_breaks_is_503(sites: Sites, caplog: pytest.LogCaptureFixture) -> None:
    provider = unverified()
    provider.receive = lambda request: 1 / 0  # type: ignore[method-assign, assignment, return-value]  # broken on purpose
    site = await sites.site({"acme": provider})
    assert (await site.ask(post())).status == 503
    assert "ZeroDivisionError" in caplog.text


async def test_a_commit_slower_than_the_ack_timeout_is_answered_503_and_goes_on(sites: Sites) -> None:
    site = await sites.site(ack_timeout=50)
    site.shelf.open.clear()
    reply = await site.ask(post(b'{"id":"slow"}'))
    assert reply.status == 503
    assert "retry-after" in reply.headers
    assert site.intake.bytes_in_flight == len(b'{"id":"slow"}')

    site.shelf.open.set()
    await until(lambda: len(site.shelf.arrivals) == 1)
    assert [event.external_id for each in site.shelf.arrivals for event in each.events] == ["slow"]
    await until(lambda: site.intake.bytes_in_flight == 0)


async def test_a_client_that_leaves_does_not_cancel_its_commit(sites: Sites) -> None:
    site = await sites.site()
    site.shelf.open.clear()
    async with await site.connect() as client:
        client.send(post(b'{"id":"left"}'))
        await until(lambda: site.shelf.waiting == 1)
        client.writer.transport.abort()
    await until(lambda: site.server.connections == 0)
    site.shelf.open.set()
    await until(lambda: len(site.shelf.arrivals) == 1)
    await until(lambda: site.intake.bytes_in_flight == 0)


async def test_a_client_that_leaves_in_the_middle_of_its_body_leaves_nothing(sites: Sites) -> None:
    site = await sites.site()
    async with await site.connect() as client:
        client.send(head("Content-Length: 100") + b"x" * 99)
        await until(lambda: site.intake.bytes_in_flight == 99)
    await until(lambda: site.intake.bytes_in_flight == 0 and site.server.connections == 0)
    assert site.shelf.arrivals == []


async def test_expect_100_continue_is_told_to_go_on(sites: Sites) -> None:
    site = await sites.site()
    async with await site.connect() as client:
        client.send(head("Content-Length: 10", "Expect: 100-continue"))
        assert (await client.reply()).status == 100
        client.send(b'{"id":"1"}')
        assert (await client.reply()).status == 200


async def test_expect_100_continue_for_what_is_too_large_is_told_so(sites: Sites) -> None:
    site = await sites.site()
    replies = await site.ask_all(head("Content-Length: 1048577", "Expect: 100-continue"))
    assert [reply.status for reply in replies] == [413]


async def test_five_pipelined_requests_are_answered_in_order(sites: Sites) -> None:
    site = await sites.site()
    async with await site.connect() as client:
        client.send(b"".join(post(b'{"id":"%d"}' % number) for number in range(5)))
        answers = [(await client.reply()).json["events"][0]["id"] for _ in range(5)]
    stored = {
        event.external_id: typeid("evt", event.id) for each in site.shelf.arrivals for event in each.events
    }
    assert answers == [stored[str(number)] for number in range(5)]


async def test_a_pipeline_that_turns_into_garbage_loses_no_answer(sites: Sites) -> None:
    site = await sites.site()
    site.shelf.open.clear()
    async with await site.connect() as client:
        client.send(post(b'{"id":"1"}') + post(b'{"id":"2"}') + b"garbage\r\n\r\n")
        await until(lambda: site.shelf.waiting == 1)
        site.shelf.open.set()
        replies = await client.rest()
    assert [reply.status for reply in replies] == [200, 200, 400]
    assert [reply.closes for reply in replies] == [False, False, True]


async def test_http_1_0_and_absolute_form_are_understood(sites: Sites) -> None:
    site = await sites.site()
    body = b'{"id":"1"}'
    old = b"POST /webhooks/acme HTTP/1.0\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    [reply] = await site.ask_all(old)
    assert (reply.status, reply.closes) == (200, True)
    assert (await site.ask(post(path="http://x/webhooks/acme/orders"))).status == 200


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([TRACE], TRACE),
        (["01" + TRACE[2:] + "-what-comes-next"], TRACE),
        ([TRACE, TRACE], None),
        ([], None),
        ([TRACE + "-more"], None),
        (["ff" + TRACE[2:]], None),
        ([TRACE.upper()], None),
        ([TRACE.replace("0af7651916cd43dd8448eb211c80319c", "0" * 32)], None),
        ([TRACE.replace("b7ad6b7169203331", "0" * 16)], None),
        ([TRACE[:-1]], None),
    ],
)
def test_traceparent_is_kept_when_well_formed_else_made(given: list[str], kept: str | None) -> None:
    first, second = (traceparent(tuple(("traceparent", value) for value in given)) for _ in range(2))
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", first)
    if kept is not None:
        assert first == kept
    else:
        assert first != second


async def test_requests_at_once_over_many_connections(sites: Sites) -> None:
    site = await sites.site()
    replies = await asyncio.gather(*(site.ask(post(b'{"id":"%d"}' % number)) for number in range(100)))
    assert {reply.status for reply in replies} == {200}
    assert len(site.shelf.arrivals) == 100
    assert site.intake.bytes_in_flight == 0
