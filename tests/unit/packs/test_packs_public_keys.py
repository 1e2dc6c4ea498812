"""What the packs that verify with public keys do beyond their vectors."""

from __future__ import annotations

import json
from urllib.parse import urlencode

import pytest
from tests.unit.packs.key_pairs import RSA_PEM, ed25519_hex, p256_pem
from tests.unit.packs.support import (
    NOW,
    SECRETS,
    delivery,
    event,
    example,
    posted,
    provider,
    received,
    refusal,
    request,
)

from surehook.clock import Millis
from surehook.errors import ConfigurationError, InvalidRequest
from surehook.packs import PACKS, Challenge
from surehook.packs.schemes.php import serialized

PUBLIC = ed25519_hex(1)[64:]


@pytest.mark.parametrize("pack", ["sendgrid", "discord", "wise", "paddle-classic"])
def test_a_secret_that_is_no_key_of_this_kind_is_named_and_not_shown(pack: str) -> None:
    wrong = ed25519_hex(1) if pack != "discord" else RSA_PEM
    for value in ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", wrong):
        with pytest.raises(ConfigurationError, match="the secret env:S0 is malformed") as caught:
            provider(pack, value)
        assert value[:30] not in str(caught.value)


def test_a_public_key_verifies_but_cannot_sign() -> None:
    sent = delivery("discord", b"{}")
    assert received(provider("discord", PUBLIC), posted(sent)).secret == "env:S0"
    with pytest.raises(InvalidRequest, match="private key"):
        PACKS["discord"].sign(PUBLIC, b"{}", NOW, external_id="e", type="a")


@pytest.mark.parametrize(("pack", "default"), [("sendgrid", 90_000), ("discord", 900)])
def test_how_old_a_signed_time_may_be(pack: str, default: int) -> None:
    body = PACKS[pack].sample()
    for tolerance in (None, 60):
        one = provider(pack, SECRETS[pack], tolerance=tolerance)
        for late, good in ((tolerance or default, True), ((tolerance or default) + 1, False)):
            then = Millis(NOW - late * 1000)
            sent = PACKS[pack].sign(SECRETS[pack], body, then, external_id="e", type="a")
            if good:
                assert received(one, posted(sent))
            else:
                assert "s away from now" in refusal(one, posted(sent))


def test_sendgrid_events_are_read_one_by_one() -> None:
    body = b'[{"sg_event_id":"a","event":"open","timestamp":1790000000},{"event":"click"},7]\r\n'
    first, second, third = received(example("sendgrid"), posted(delivery("sendgrid", body))).events
    assert (first.external_id, first.type, first.occurred_at, first.part) == ("a", "open", NOW, "/0")
    assert (second.weak, second.type, second.item) == (True, "click", 1)
    assert (third.weak, third.type) == (True, "acme")
    nothing = example("sendgrid").receive(posted(delivery("sendgrid", b"[]\r\n")))
    assert isinstance(nothing, Challenge)
    assert nothing.status == 200


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        (b'{"type":0,"application_id":"1"}', (204, b"")),
        (b'{"type":1,"id":"7","token":"t"}', (200, b'{"type":1}')),
        (b'{"type":0,"event":null}', (204, b"")),
    ],
)
def test_discord_pings_are_answered_and_nothing_is_stored(body: bytes, answer: tuple[int, bytes]) -> None:
    verdict = example("discord").receive(posted(delivery("discord", body)))
    assert isinstance(verdict, Challenge)
    assert (verdict.status, verdict.body) == answer
    assert refusal(example("discord"), request(body))


@pytest.mark.parametrize(
    ("body", "id", "type"),
    [
        (b'{"type":2,"id":"7","data":{"id":"8","name":"blep"}}', "7", "interaction.2"),
        (b'{"type":1,"event":{"type":"ENTITLEMENT_CREATE"}}', None, "ENTITLEMENT_CREATE"),
        (b'{"id":"7"}', "7", "acme"),
        (b'{"id":"7","type":{}}', "7", "acme"),
    ],
)
def test_discord_interactions_and_events(body: bytes, id: str | None, type: str) -> None:
    found = event(example("discord"), posted(delivery("discord", body)))
    assert (None if found.weak else found.external_id, found.type) == (id, type)
    assert example("discord").response == (204, b"", "text/plain")


def test_without_its_header_a_wise_event_is_known_by_its_body() -> None:
    sent = delivery("wise", PACKS["wise"].sample())
    del sent.headers["x-delivery-id"]
    found = event(example("wise"), posted(sent))
    assert (found.weak, found.subject, found.occurred_at) == (True, "50500593", NOW)
    assert not example("wise").id_is_signed


def test_php_serializes_sorted_fields_with_their_lengths_in_bytes() -> None:
    assert serialized({}) == b"a:0:{}"
    assert serialized({"b": "Zoë", "a": ""}) == 'a:2:{s:1:"a";s:0:"";s:1:"b";s:4:"Zoë";}'.encode()


def test_a_paddle_form_is_signed_however_it_is_written() -> None:
    sent = delivery("paddle-classic", b"alert_name=a&alert_id=1&passthrough=%C3%A9+%2b")
    one = example("paddle-classic")
    found = received(one, posted(sent))
    assert (found.events[0].external_id, found.events[0].type) == ("1", "a")
    assert sent.headers["content-type"] == "application/x-www-form-urlencoded"
    turned = b"&".join(reversed(sent.body.split(b"&"))).replace(b"%2B", b"%2b")
    assert received(one, request(turned, sent.headers)).events[0].external_id == "1"


@pytest.mark.parametrize(
    ("end", "why"),
    [
        (b"&alert_id=2", "more than once"),
        (b"&p_signature=x", "more than once"),
        (b"&x=%ff", "no form"),
        (b"&x=1", "no live secret"),
        (b"&x" * 1001, "no form"),
    ],
)
def test_a_paddle_form_with_more_in_it_is_refused(end: bytes, why: str) -> None:
    sent = delivery("paddle-classic", PACKS["paddle-classic"].sample())
    assert why in refusal(example("paddle-classic"), request(sent.body + end, sent.headers))
    assert "no field p_signature" in refusal(example("paddle-classic"), request(b"", sent.headers))


def test_a_paddle_fulfilment_has_the_topic_for_a_type() -> None:
    body = urlencode({"p_order_id": "77", "p_country": "US"}).encode()
    sent = delivery("paddle-classic", body)
    found = event(example("paddle-classic"), request(sent.body, sent.headers, topic="fulfilment"))
    assert (found.weak, found.type, found.subject) == (True, "fulfilment", "77")


def test_samples_are_of_the_shape_that_is_sent() -> None:
    [only] = json.loads(PACKS["sendgrid"].sample("open", external_id="x"))
    assert (only["sg_event_id"], only["event"]) == ("x", "open")
    assert "id" not in json.loads(PACKS["discord"].sample("a", external_id="x"))
    assert p256_pem(1) != p256_pem(2)
