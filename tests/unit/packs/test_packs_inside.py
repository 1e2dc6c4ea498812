"""What the packs whose signatures stand inside the body do beyond their vectors."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlencode

import pytest
from tests.unit.packs.support import (
    NOW,
    SECRET,
    delivery,
    event,
    example,
    posted,
    provider,
    received,
    refusal,
    request,
    secret_of,
)

from surehook.clock import Millis
from surehook.errors import ConfigurationError, InvalidRequest
from surehook.packs import PACKS, Challenge, Request
from surehook.states import Reason

STAMP = NOW // 1000


def adyen(*changes: Callable[[dict[str, Any]], object]) -> Request:
    """A request of two signed events, changed afterwards."""
    body = json.loads(PACKS["adyen"].sample())
    second = json.loads(PACKS["adyen"].sample("CAPTURE", external_id="second"))
    body["notificationItems"] += second["notificationItems"]
    signed = json.loads(delivery("adyen", json.dumps(body).encode()).body)
    for change in changes:
        change(signed["notificationItems"][1]["NotificationRequestItem"])
    return request(json.dumps(signed).encode())


def test_every_adyen_event_is_signed_and_read() -> None:
    first, second = received(example("adyen"), adyen()).events
    assert first.external_id == "QFQTPCQ8HXSKGK82:AUTHORISATION:true"
    assert (second.external_id, second.type, second.subject) == ("second:CAPTURE:true", "CAPTURE", "second")
    assert (second.part, second.occurred_at) == ("/notificationItems/1", NOW)
    assert example("adyen").response == (200, b"[accepted]", "text/plain")


@pytest.mark.parametrize(
    "change",
    [
        lambda item: item.update(success="false"), lambda item: item["amount"].update(value=1),
        lambda item: item["amount"].update(currency="USD"), lambda item: item.update(eventCode="REFUND"),
        lambda item: item.pop("merchantReference"), lambda item: item.update(originalReference="x"),
        lambda item: item.pop("additionalData"), lambda item: item.update(success=True),
        lambda item: item.update(additionalData=None), lambda item: item["amount"].update(value=4200.5),
    ],
)  # fmt: skip
def test_one_adyen_event_that_is_not_signed_is_enough(change: Callable[[dict[str, Any]], object]) -> None:
    assert refusal(example("adyen"), adyen(change))


def test_what_adyen_does_not_sign_may_change() -> None:
    assert received(example("adyen"), adyen(lambda item: item.update(reason="other", operations=[])))


@pytest.mark.parametrize(
    "body", [b'{"notificationItems":[]}', b"{}", b"[]", b"", b'{"notificationItems":[{}]}']
)
def test_an_adyen_request_without_events_is_not_authentic(body: bytes) -> None:
    assert refusal(example("adyen"), request(body))


def test_an_adyen_event_cannot_be_made_unreadable_by_what_is_not_signed() -> None:
    asked = adyen()
    assert refusal(example("adyen"), request(asked.body.replace(b"visa", b"vis\xe1")))


def test_adyen_s_key_is_hex_and_signs_only_what_has_a_place_for_it() -> None:
    with pytest.raises(ConfigurationError, match="env:S0 is malformed"):
        provider("adyen", "no hex")
    with pytest.raises(InvalidRequest, match="notificationItems"):
        delivery("adyen", b"{}")


def mailgun(stamp: object = STAMP, **more: Any) -> Request:
    signature = hmac.new(SECRET.encode(), f"{stamp}token".encode(), "sha256").hexdigest()
    inside = {"timestamp": str(stamp), "token": "token", "signature": signature, **more}
    return request(json.dumps({"signature": inside, "event-data": {"id": "e", "event": "opened"}}).encode())


def test_a_mailgun_time_is_signed_and_may_differ_by_the_tolerance() -> None:
    one = example("mailgun")
    assert event(one, mailgun()).external_id == "e"
    assert not one.id_is_signed
    for stamp in (STAMP - 300, STAMP + 300):
        assert received(one, mailgun(stamp))
        assert refusal(provider("mailgun", SECRET, tolerance=299), mailgun(stamp))
    for other in (STAMP - 301, STAMP + 301, "", "1e9", f" {STAMP}"):
        assert "timestamp" in refusal(one, mailgun(other))


@pytest.mark.parametrize(
    "more", [{"timestamp": STAMP}, {"token": None}, {"signature": "é"}, {"signature": []}]
)
def test_a_mailgun_signature_of_another_shape_is_refused(more: dict[str, Any]) -> None:
    assert refusal(example("mailgun"), mailgun(**more))


def test_a_mailgun_form_is_read_too() -> None:
    signature = hmac.new(SECRET.encode(), f"{STAMP}token".encode(), "sha256").hexdigest()
    fields = {
        "timestamp": STAMP,
        "token": "token",
        "signature": signature,
        "event": "opened",
        "Message-Id": "<m>",
    }
    kind = {"content-type": "application/x-www-form-urlencoded"}
    found = event(example("mailgun"), request(urlencode(fields).encode(), kind))
    assert (found.type, found.subject, found.occurred_at, found.weak) == ("opened", "<m>", NOW, True)
    assert refusal(example("mailgun"), request(urlencode(fields).encode()))
    assert refusal(example("mailgun"), request(urlencode(fields | {"token": "other"}).encode(), kind))
    assert refusal(example("mailgun"), request(urlencode(fields).encode() + b"&token=token", kind))


def test_mailgun_signs_objects_only() -> None:
    with pytest.raises(InvalidRequest, match="JSON object"):
        delivery("mailgun", b"[]")
    with pytest.raises(InvalidRequest, match="JSON object"):
        PACKS["mailgun"].sign(SECRET, b"\xff", Millis(NOW), external_id="e", type="a")


@pytest.mark.parametrize(
    ("pack", "body"), [("paddle-classic", b"a=1&a=2"), ("paddle-classic", b"\xff"), ("aws-sns", b"\xff")]
)
def test_a_body_that_has_no_place_for_a_signature_cannot_be_signed(pack: str, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        delivery(pack, body)


def braintree(xml: bytes) -> Request:
    return posted(delivery("braintree", urlencode({"bt_payload": base64.encodebytes(xml).decode()}).encode()))


def test_a_braintree_notification_is_known_by_its_payload_however_the_form_is_written() -> None:
    asked = posted(delivery("braintree", PACKS["braintree"].sample("check", external_id="s-1")))
    first = event(example("braintree"), asked)
    assert (first.type, first.subject, first.occurred_at, first.weak) == ("check", "s-1", NOW, True)
    turned = b"&".join(reversed(asked.body.split(b"&"))).replace(b"%7C", b"%7c") + b"&more=1"
    assert turned != asked.body
    again = event(example("braintree"), request(turned))
    assert (again.external_id, again.part) == (first.external_id, None)


@pytest.mark.parametrize(
    ("xml", "type", "subject"),
    [
        (b"<notification><kind>check</kind><subject><check>1</check></subject></notification>", "check", None),
        (b"<kind>a</kind><id>1</id><subject><x/>\n<id>2</id><id>3</id></subject>", "a", "2"),
        (b'<!DOCTYPE n [<!ENTITY e SYSTEM "file:///etc/hosts">]><kind>a</kind><subject><id>&e;</id></subject>', "a", None),
    ],
)  # fmt: skip
def test_braintree_s_xml_is_searched_and_nothing_in_it_followed(
    xml: bytes, type: str, subject: str | None
) -> None:
    found = event(example("braintree"), braintree(xml))
    assert (found.type, found.subject, found.dead) == (type, subject, None)


@pytest.mark.parametrize("xml", [b"<kind></kind>", b"<kind>&a;</kind>", b"\xff<kind>a</kind>", b"x"])
def test_a_braintree_payload_without_a_notification_is_stored_dead(xml: bytes) -> None:
    assert event(example("braintree"), braintree(xml)).dead is Reason.UNPARSABLE


def test_braintree_s_secret_names_its_public_key_or_the_settings_do() -> None:
    asked = posted(delivery("braintree", PACKS["braintree"].sample()))
    assert received(example("braintree"), asked)
    both = provider("braintree", "other:x", f"sample_public_key:{secret_of('braintree')}")
    assert received(both, asked).secret == "env:S1"
    assert refusal(provider("braintree", secret_of("braintree"), public_key="other"), asked)
    for value in ("private", ":private", "public:"):
        with pytest.raises(ConfigurationError, match="public_key") as caught:
            provider("braintree", value)
        assert "private:" not in str(caught.value)


def challenged(query: str) -> Request:
    return Request("acme", "", "GET", (), b"", NOW, query)


def test_braintree_s_challenge_is_answered_and_cannot_make_a_notification() -> None:
    one, asked = example("braintree"), "4be9172540ad5ecbcaa702b8e8d248d1"
    verdict = one.receive(challenged(f"bt_challenge={asked}"))
    key = hashlib.sha1(secret_of("braintree").encode()).digest()
    signature = hmac.new(key, asked.encode(), "sha1").hexdigest()
    assert isinstance(verdict, Challenge)
    assert verdict.body.decode() == f"sample_public_key|{signature}"
    for payload in (asked, asked + "\n"):
        fields = {"bt_signature": verdict.body.decode(), "bt_payload": payload}
        assert "no payload" in refusal(one, request(urlencode(fields).encode()))


@pytest.mark.parametrize(
    "query", ["", "bt_challenge=", "bt_challenge=PGtpbmQ", "bt_challenge=" + "a" * 33, "a=%ff"]
)
def test_what_is_no_challenge_is_not_signed(query: str) -> None:
    assert "no challenge" in refusal(example("braintree"), challenged(query))


def test_braintree_looks_at_ten_signatures_and_no_more() -> None:
    sent = parse_qs(delivery("braintree", PACKS["braintree"].sample()).body.decode())
    [good], [payload] = sent["bt_signature"], sent["bt_payload"]
    for others, found in ((9, True), (10, False)):
        fields = {"bt_signature": "&".join(["x|y"] * others + [good]), "bt_payload": payload}
        asked = request(urlencode(fields).encode())
        assert (
            received(example("braintree"), asked)
            if found
            else "more than 10" in refusal(example("braintree"), asked)
        )
