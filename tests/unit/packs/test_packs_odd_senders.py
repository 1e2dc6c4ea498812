"""What single packs do that others do not: handshakes, several events a request, several signatures, bodies that repeat."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.packs.support import (
    NOW,
    delivery,
    event,
    example,
    headers,
    posted,
    provider,
    received,
    refusal,
    request,
    secret_of,
)

from surehook.clock import Millis
from surehook.config import ProviderSettings, ServerSettings
from surehook.errors import ConfigurationError
from surehook.model import NewEvent
from surehook.packs import PACKS, Challenge, Refused, Request, build_provider
from surehook.pointers import resolve_pointer
from surehook.secrets import Secret
from surehook.states import Reason


def asked(method: str, query: str = "") -> Request:
    """An unsigned request without a body."""
    return Request("acme", "", method, (), b"", NOW, query)


def sent(pack: str, body: Any, **extra: str) -> Request:
    """A signed request; the body is JSON unless it is bytes."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return posted(delivery(pack, raw), **extra)


def base64_hmac(secret: str, body: bytes) -> str:
    """A signature made without the engine."""
    return base64.b64encode(hmac.digest(secret.encode(), body, "sha256")).decode()


def assert_parts(events: tuple[NewEvent, ...], body: bytes) -> None:
    """Each event's part is where it says, and has the digest that it says."""
    whole = json.loads(body)
    for number, each in enumerate(events):
        assert each.part is not None
        assert resolve_pointer(whole, each.part) is not None
        assert each.item == number
    assert len({each.part for each in events}) == len(events)


# --- handshakes


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_intercom_may_look_at_the_address(method: str) -> None:
    one = example("intercom")
    assert one.receive(asked(method)) == Challenge(200, kind="a look at the address")
    assert method in one.methods
    assert refusal(one, asked("POST"))


def test_an_intercom_ping_is_an_event() -> None:
    found = event(example("intercom"), sent("intercom", {"id": "notif_1", "topic": "ping"}))
    assert (found.type, found.external_id) == ("ping", "notif_1")


def test_dropbox_gets_its_challenge_back_as_plain_text() -> None:
    verdict = example("dropbox").receive(asked("GET", "challenge=abc-123_X%7E"))
    assert isinstance(verdict, Challenge)
    assert (verdict.status, verdict.body, verdict.content_type.partition(";")[0]) == (
        200,
        b"abc-123_X~",
        "text/plain",
    )
    assert verdict.headers == (("X-Content-Type-Options", "nosniff"),)


NO_CHALLENGES = [
    "", "challenge=", "challenge=a&challenge=b", "challenge=%FF", "x=1", "challenge=a%0Ab", "challenge=%3Cscript%3E",
    "challenge=" + "a" * 256, "&".join(["a=1"] * 2000), "\xe9",
]  # fmt: skip


@pytest.mark.parametrize("query", NO_CHALLENGES, ids=lambda query: repr(query[:30]))
def test_dropbox_gets_nothing_else_back(query: str) -> None:
    assert refusal(example("dropbox"), asked("GET", query))
    assert isinstance(example("dropbox").receive(asked("POST", "challenge=abc")), Refused)


# --- bodies that repeat


@pytest.mark.parametrize("pack", ["dropbox", "mollie-classic"])
def test_equal_bodies_are_several_events(pack: str) -> None:
    body = PACKS[pack].sample()
    first, second = (event(example(pack), posted(delivery(pack, body))) for _ in range(2))
    assert first.external_id != second.external_id
    assert first.weak
    assert second.weak


def test_a_classic_mollie_event_is_about_the_resource() -> None:
    one = provider("mollie-classic")
    found = event(one, request(b"id=tr_7UhSN1zuXS&testByMollie=1"))
    assert (found.subject, found.dead) == ("tr_7UhSN1zuXS", None)
    again = event(provider("mollie-classic"), request(b"id=tr_7UhSN1zuXS", topic="payments"))
    assert again.type == "payments"


@pytest.mark.parametrize("body", [b"", b"id=", b"x=1", b"id=a&id=b", b"id=%FF", b"\xff", b'{"id":"tr_1"}'])
def test_a_classic_mollie_body_without_one_id_is_dead(body: bytes) -> None:
    found = event(provider("mollie-classic"), request(body))
    assert (found.dead, found.subject) == (Reason.UNPARSABLE, None)


def test_classic_mollie_must_be_written_out() -> None:
    with pytest.raises(ConfigurationError, match='write pack = "mollie-classic"'):
        build_provider("mollie-classic", ProviderSettings(), Secret, ServerSettings())
    with pytest.raises(ConfigurationError, match="would not be used"):
        provider("mollie-classic", "s3cret")


# --- several signatures


def mollie_signature(secret: str, body: bytes, prefix: str = "sha256=") -> tuple[str, str]:
    return "x-mollie-signature", prefix + hmac.digest(secret.encode(), body, "sha256").hex()


def test_mollie_signs_in_several_headers_of_one_name() -> None:
    body, one = PACKS["mollie"].sample(), provider("mollie", "new", "old")
    strange, old = mollie_signature("strange", body), mollie_signature("old", body, prefix="")
    assert received(one, request(body, (strange, old))).secret == "env:S1"
    assert received(one, request(body, (old, mollie_signature("new", body)))).secret == "env:S0"
    assert refusal(one, request(body, (strange, strange)))
    assert received(one, request(body, (*[strange] * 9, old)))
    assert "more than 10" in refusal(one, request(body, (*[strange] * 10, old)))


def test_mollie_takes_its_prefix_once() -> None:
    body, one = PACKS["mollie"].sample(), provider("mollie", "s3cret")
    for prefix in ("sha256=sha256=", "sha1=", "SHA256=", " "):
        assert refusal(one, request(body, (mollie_signature("s3cret", body, prefix),)))


def docusign(*numbered: tuple[object, str], **extra: str) -> dict[str, str]:
    return {f"X-DocuSign-Signature-{number}": value for number, value in numbered} | extra


def test_docusign_signs_in_numbered_headers() -> None:
    body, one = PACKS["docusign"].sample(), provider("docusign", "new", "old")
    good, bad = base64_hmac("old", body), base64_hmac("strange", body)
    for number in (1, 2, 100):
        assert received(one, request(body, docusign((number, good)))).secret == "env:S1"
    every = [(number, bad) for number in range(1, 100)]
    assert received(one, request(body, docusign(*every, (100, good))))
    for strange in (0, 101, "01", "1-1", ""):
        assert "missing" in refusal(one, request(body, docusign((strange, good))))


def test_a_docusign_header_is_there_once() -> None:
    body, one = PACKS["docusign"].sample(), provider("docusign", "s3cret")
    pairs = headers(docusign((1, base64_hmac("s3cret", body))))
    assert received(one, request(body, pairs))
    assert "repeated" in refusal(one, request(body, (*pairs, *pairs)))


@pytest.mark.parametrize("kind", ["text/xml; charset=utf-8", "application/xml", "APPLICATION/SOAP+XML"])
def test_xml_of_docusign_is_stored_unread(kind: str) -> None:
    body = b"<?xml version='1.0'?><DocuSignEnvelopeInformation/>"
    found = event(example("docusign"), sent("docusign", body, **{"content-type": kind}))
    assert (found.dead, found.weak, found.type) == (None, True, "acme")
    assert found.external_id == hashlib.sha256(body).hexdigest()


def buildkite(body: bytes, **extra: str) -> Request:
    return request(body, {"content-type": "application/json", "x-buildkite-event": "ping", **extra})


def test_a_buildkite_token_is_believed_only_without_a_signature() -> None:
    secret, body = secret_of("buildkite"), b'{"event":"job.started","build":{"id":"b-1"}}'
    one = provider("buildkite", secret)
    verdict = received(one, buildkite(body, **{"x-buildkite-token": secret}))
    assert (verdict.events[0].type, verdict.events[0].subject) == ("job.started", "b-1")
    assert secret not in repr(verdict)
    for signature in ("", "timestamp=1,signature=0", f"timestamp={NOW // 1000},signature={'0' * 64}"):
        both = {"x-buildkite-token": secret, "x-buildkite-signature": signature}
        assert refusal(one, buildkite(body, **both))
    assert refusal(one, buildkite(body, **{"x-buildkite-token": secret[:-1]}))
    assert "or x-buildkite-token is missing" in refusal(one, buildkite(body))


# --- several events a request


def test_gocardless_sends_several_events() -> None:
    body = msgspec.json.encode(
        {
            "events": [
                {"id": "EV1", "resource_type": "payments", "action": "paid_out", "links": {"payment": "PM1"}},
                {"id": "EV2", "resource_type": "mandates", "action": "active", "links": {"mandate": "MD1"}},
            ],
            "meta": {"webhook_id": "WB1"},
        }
    )
    events = received(example("gocardless"), sent("gocardless", body)).events
    assert [(each.external_id, each.type, each.subject) for each in events] == [
        ("EV1", "payments.paid_out", "PM1"),
        ("EV2", "mandates.active", "MD1"),
    ]
    assert_parts(events, body)


def xero_event(resource: str, at: str) -> dict[str, str]:
    return {"resourceId": resource, "eventDateUtc": at, "eventType": "CREATE", "eventCategory": "INVOICE"}


def test_a_xero_event_is_the_same_in_another_request() -> None:
    first, second = xero_event("a", "2026-09-21T14:13:20.000"), xero_event("b", "2026-09-21T14:13:20.000")
    body = msgspec.json.encode({"events": [first, second], "entropy": "X"})
    events = received(example("xero"), sent("xero", body)).events
    [again] = received(example("xero"), sent("xero", {"events": [second], "entropy": "Y"})).events
    assert again.external_id == events[1].external_id != events[0].external_id
    assert [(each.type, each.subject, each.occurred_at) for each in events] == [
        ("INVOICE.CREATE", "a", NOW),
        ("INVOICE.CREATE", "b", NOW),
    ]
    assert_parts(events, body)


def test_xero_wants_bare_answers() -> None:
    one = example("xero")
    assert one.refuses_bare
    assert one.response[:2] == (200, b"")
    samples = {PACKS["xero"].sample(external_id=name) for name in ("a", "b")}
    assert len(samples) == 2


COMPANIES = {
    "eventNotifications": [
        {
            "realmId": "9130",
            "dataChangeEvent": {
                "entities": [
                    {"name": "Customer", "id": "1", "operation": "Create", "lastUpdated": "2026-09-21T14:13:20.000Z"},
                    {"name": "Vendor", "id": "1", "operation": "Create", "lastUpdated": "2026-09-21T07:13:20-0700"},
                ]
            },
        },
        {"realmId": "9131"},
        {
            "realmId": "9132",
            "dataChangeEvent": {
                "entities": [
                    {"name": "Customer", "id": "1", "operation": "Create", "lastUpdated": "2026-09-21T14:13:20.000Z"},
                    {"name": "Customer", "id": "2"},
                    "what is this",
                ]
            },
        },
    ]
}  # fmt: skip


def test_quickbooks_sent_entities_before_it_sent_cloudevents() -> None:
    body = msgspec.json.encode(COMPANIES)
    events = received(example("quickbooks"), sent("quickbooks", body)).events
    assert [(each.external_id, each.type, each.subject) for each in events[:3]] == [
        ("9130/Customer/1/Create/2026-09-21T14:13:20.000Z", "Customer.Create", "9130/1"),
        ("9130/Vendor/1/Create/2026-09-21T07:13:20-0700", "Vendor.Create", "9130/1"),
        ("9132/Customer/1/Create/2026-09-21T14:13:20.000Z", "Customer.Create", "9132/1"),
    ]
    assert [each.occurred_at for each in events] == [NOW, NOW, NOW, None, None]
    assert [each.weak for each in events] == [False, False, False, True, True]
    assert_parts(events, body)


def test_quickbooks_cloudevents_say_whose_entity_it_is() -> None:
    body = PACKS["quickbooks"].sample(external_id="e-1")
    [found] = received(example("quickbooks"), sent("quickbooks", body)).events
    assert (found.external_id, found.subject, found.part) == ("e-1", "9130000000000001/42", "/0")
    assert isinstance(example("quickbooks").receive(sent("quickbooks", b"[]")), Challenge)


ODD_COMPANIES = [
    b"{}", b'{"eventNotifications":{}}', b'{"eventNotifications":[1]}', b'{"eventNotifications":[{"dataChangeEvent":[]}]}',
    b'{"eventNotifications":[{"realmId":"1","realmId":"2","dataChangeEvent":{"entities":[{}]}}]}',
    b'{"eventNotifications":[' + b",".join([b"{}"] * 10_001) + b"]}",
    b'{"eventNotifications":[{"dataChangeEvent":{"entities":[' + b",".join([b"{}"] * 10_001) + b"]}}]}",
]  # fmt: skip


@pytest.mark.parametrize("body", ODD_COMPANIES, ids=lambda body: str(body[:60]))
def test_an_object_of_quickbooks_that_is_not_understood_is_dead(body: bytes) -> None:
    assert event(example("quickbooks"), sent("quickbooks", body)).dead is Reason.UNPARSABLE


# --- Zendesk


def zendesk(body: bytes, method: str = "POST", **extra: str) -> NewEvent:
    return event(example("zendesk"), replace(sent("zendesk", body, **extra), method=method))


def test_an_id_in_a_zendesk_trigger_is_not_that_of_an_event() -> None:
    for body in (b'{"id":"35436","type":"ticket"}', b"[1]", b'"x"', b'{"zendesk_event":{"id":"1"}}'):
        found = zendesk(body)
        assert (found.external_id, found.weak, found.type, found.dead) == ("e-1", False, "acme", None)
    own = zendesk(
        b'{"id":"35436","type":"zen:event-type:ticket.created","zendesk_event_version":"2022-11-06"}'
    )
    assert (own.external_id, own.type) == ("35436", "zen:event-type:ticket.created")


@pytest.mark.parametrize("method", sorted(PACKS["zendesk"].methods))
def test_a_zendesk_trigger_may_send_anything_in_any_way(method: str) -> None:
    for kind in ("application/x-www-form-urlencoded", "application/xml", "text/plain"):
        assert zendesk(b"<id>7</id>", method, **{"content-type": kind}).dead is None
    assert zendesk(b"", method).dead is (Reason.UNPARSABLE if method == "POST" else None)


def test_an_ambiguous_zendesk_event_is_dead_under_the_id_of_its_invocation() -> None:
    found = zendesk(b'{"id":"1","id":"2","zendesk_event_version":"2022-11-06"}')
    assert (found.external_id, found.dead) == ("e-1", Reason.UNPARSABLE)


# --- times


@pytest.mark.parametrize(
    ("pack", "seconds"),
    [("paddle", 5), ("calendly", 180), ("workos", 180), ("mux", 300), ("zendesk", 300), ("buildkite", 300)],
)
def test_a_tolerance_is_what_the_sender_says_unless_it_is_set(pack: str, seconds: int) -> None:
    body, secret = PACKS[pack].sample(), secret_of(pack)
    for ahead in (-1, 1):
        edge = PACKS[pack].sign(secret, body, Millis(NOW + ahead * seconds * 1000), external_id="e", type="a")
        late = PACKS[pack].sign(
            secret, body, Millis(NOW + ahead * (seconds + 1) * 1000), external_id="e", type="a"
        )
        assert received(provider(pack, secret), posted(edge))
        assert f"more than {seconds} s away" in refusal(provider(pack, secret), posted(late))
        assert received(provider(pack, secret, tolerance=seconds + 1), posted(late))
    assert PACKS["paddle"].settings == {"tolerance"}


@pytest.mark.parametrize(
    ("pack", "header", "start"),
    [
        ("workos", "workos-signature", f"t={NOW}, v1="),
        ("paddle", "paddle-signature", f"ts={NOW // 1000};h1="),
        ("buildkite", "x-buildkite-signature", f"timestamp={NOW // 1000},signature="),
        ("mux", "mux-signature", f"t={NOW // 1000},v1="),
    ],
)
def test_a_signed_time_is_written_as_the_sender_does(pack: str, header: str, start: str) -> None:
    assert delivery(pack, b"{}").headers[header].startswith(start)
