"""What single senders do that others do not: one id for several events, two kinds of secrets, headers of two names."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from tests.unit.packs.support import (
    NOW,
    SECRET,
    delivery,
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
from surehook.model import NewEvent
from surehook.packs import PACKS
from surehook.states import Reason


def meta_events(*entries: Any) -> tuple[NewEvent, ...]:
    body = json.dumps({"object": "page", "entry": entries}).encode()
    return received(example("meta"), posted(delivery("meta", body))).events


def whatsapp(**value: Any) -> dict[str, Any]:
    return {"id": "waba", "changes": [{"field": "messages", "value": value}]}


def test_meta_gives_one_event_for_each_change_and_each_message() -> None:
    events = meta_events(
        {"id": "p1", "time": 1790000000, "changes": [{"field": "feed", "value": {"a": 1}}, {"field": "name", "value": 2}]},
        {"id": "p2", "time": 1790000000123, "messaging": [{"timestamp": 1790000000456, "message": {"mid": "m_1"}}]},
        {"id": "p3", "time": 1790000001, "standby": [{"read": {"watermark": 7}}]},
        {"uid": "u1", "time": 1790000002, "changed_fields": ["email"]},
    )  # fmt: skip
    assert [each.part for each in events] == [
        "/entry/0/changes/0", "/entry/0/changes/1", "/entry/1/messaging/0", "/entry/2/standby/0", "/entry/3",
    ]  # fmt: skip
    assert [each.type for each in events] == ["feed", "name", "messages", "message_reads", "page"]
    assert [each.subject for each in events] == ["p1", "p1", "p2", "p3", None]
    assert [each.occurred_at for each in events] == [NOW, NOW, NOW + 456, NOW + 1000, NOW + 2000]
    assert [each.weak for each in events] == [True, True, False, True, True]
    assert events[2].external_id == "m_1"


def test_what_becomes_of_a_whatsapp_message_has_an_id_for_each_state() -> None:
    states = [
        {"id": "wamid.1", "status": state, "timestamp": "1790000000"}
        for state in ("sent", "delivered", "read")
    ]
    events = [meta_events(whatsapp(statuses=[state]))[0] for state in states]
    assert [each.external_id for each in events] == [
        "wamid.1:sent:1790000000", "wamid.1:delivered:1790000000", "wamid.1:read:1790000000",
    ]  # fmt: skip
    [message] = meta_events(whatsapp(messages=[{"id": "wamid.1", "timestamp": "1790000000"}]))
    assert (message.external_id, message.occurred_at) == ("wamid.1", NOW)


def test_several_messages_in_one_change_have_no_id_together() -> None:
    several = [{"id": "wamid.1"}, {"id": "wamid.2"}]
    [event] = meta_events(whatsapp(messages=several))
    assert event.weak
    [mixed] = meta_events(whatsapp(messages=several[:1], statuses=several[1:]))
    assert mixed.weak


@pytest.mark.parametrize("kind", [{"is_echo": True}, {"is_deleted": True}])
def test_an_echo_or_a_deletion_does_not_take_the_id_of_its_message(kind: dict[str, bool]) -> None:
    first, second = meta_events(
        {"id": "p", "messaging": [{"message": {"mid": "m_1"}}, {"message": {"mid": "m_1", **kind}}]}
    )
    assert (first.external_id, first.weak) == ("m_1", False)
    assert second.weak
    assert second.external_id != "m_1"


def test_a_reaction_is_not_the_message_that_it_is_to() -> None:
    [event] = meta_events({"id": "p", "messaging": [{"reaction": {"mid": "m_1", "emoji": "!"}}]})
    assert (event.type, event.weak) == ("message_reactions", True)


def test_changes_that_are_alike_at_two_times_are_two_events() -> None:
    change = [{"field": "name", "value": "a"}]
    [first] = meta_events({"id": "p", "time": 1, "changes": change})
    [second] = meta_events({"id": "p", "time": 2, "changes": change})
    [again] = meta_events({"id": "p", "time": 2, "changes": change})
    assert first.external_id != second.external_id == again.external_id


def test_a_repeated_id_of_meta_is_ambiguous() -> None:
    for part in ('"messaging":[{"message":{"mid":"a","mid":"b"}}]',
                 '"changes":[{"field":"messages","value":{"messages":[{"id":"a","id":"b"}]}}]'):  # fmt: skip
        body = f'{{"object":"page","entry":[{{{part}}}]}}'.encode()
        [event] = received(example("meta"), posted(delivery("meta", body))).events
        assert event.dead is Reason.UNPARSABLE


def test_too_many_events_of_meta_are_one_dead_event() -> None:
    entries = [{"changes": [{"field": "feed"}] * 5001} for _ in range(2)]
    [event] = meta_events(*entries)
    assert event.dead is Reason.UNPARSABLE


@pytest.mark.parametrize(
    "body", [b'{"object":"page"}', b'{"object":"page","entry":[]}', b'{"object":"page","entry":{}}']
)
def test_a_body_of_meta_without_entries_is_one_event(body: bytes) -> None:
    [event] = received(example("meta"), posted(delivery("meta", body))).events
    assert (event.type, event.weak, event.dead) == ("page", True, None)


def signed_by_gitlab(**more: str) -> dict[str, str]:
    key = base64.b64decode(SECRET.removeprefix("whsec_"))
    digest = hmac.digest(key, b"g-1.%d.{}" % (NOW // 1000), "sha256")
    signature = "v1," + base64.b64encode(digest).decode()
    return {
        "webhook-id": "g-1",
        "webhook-timestamp": str(NOW // 1000),
        "webhook-signature": signature,
        **more,
    }


def test_a_signature_of_gitlab_decides_once_a_signing_token_is_live() -> None:
    both = provider("gitlab", SECRET, "token")
    bad = {**signed_by_gitlab(), "webhook-signature": "v1," + "A" * 43 + "="}
    assert received(both, request(b"{}", signed_by_gitlab(**{"X-Gitlab-Token": "other"}))).secret == "env:S0"
    assert "webhook-signature" in refusal(both, request(b"{}", {**bad, "X-Gitlab-Token": "token"}))
    assert received(both, request(b"{}", {"X-Gitlab-Token": "token"})).secret == "env:S1"
    assert refusal(provider("gitlab", SECRET), request(b"{}", {"X-Gitlab-Token": "token"}))
    # without a signing token nobody can tell whether a signature is right: then the secret token decides, as before
    assert received(provider("gitlab", "token"), request(b"{}", {**bad, "X-Gitlab-Token": "token"}))
    assert refusal(provider("gitlab", "token"), request(b"{}", bad))


def test_the_secret_token_of_gitlab_is_not_kept() -> None:
    verdict = received(
        provider("gitlab", "token"), request(b"{}", {"X-Gitlab-Token": "token", "X-Other": "1"})
    )
    assert verdict.kept_headers == (("x-other", "1"),)


def test_an_id_of_gitlab_is_the_signed_one() -> None:
    given = signed_by_gitlab(**{"Idempotency-Key": "forged", "X-Gitlab-Event-UUID": "forged"})
    assert received(provider("gitlab", SECRET), request(b"{}", given)).events[0].external_id == "g-1"
    token = {"X-Gitlab-Token": "t", "Idempotency-Key": "k-1"}
    assert received(provider("gitlab", "t"), request(b"{}", token)).events[0].external_id == "k-1"


def test_the_id_of_svix_is_the_one_that_was_signed() -> None:
    sent = delivery("svix", b"{}")
    unbranded = {name.replace("svix-", "webhook-"): value for name, value in sent.headers.items()}
    forged = {**unbranded, "svix-id": "forged"}
    assert received(example("svix"), request(b"{}", forged)).events[0].external_id == "e-1"
    beside = {**sent.headers, "webhook-id": "forged", "webhook-signature": "v1,AAAA"}
    assert received(example("svix"), request(b"{}", beside)).events[0].external_id == "e-1"
    bad = {**sent.headers, "svix-signature": "v1," + "A" * 43 + "="}
    assert "svix-signature" in refusal(example("svix"), request(b"{}", {**bad, **unbranded}))


def test_a_secret_of_openai_without_its_prefix_is_text() -> None:
    sent = PACKS["openai"].sign("a plain secret", b'{"id":"evt_1"}', NOW, external_id="wh_1", type="a")
    digest = hmac.digest(b"a plain secret", b'wh_1.%d.{"id":"evt_1"}' % (NOW // 1000), "sha256")
    assert sent.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()
    [event] = received(provider("openai", "a plain secret"), posted(sent)).events
    assert event.external_id == "evt_1"


@pytest.mark.parametrize(
    "stamp", ['"1790000000000"', "1790000000000.5", "1.79e12", "-1790000000000", "null", "[1790000000000]"]
)
def test_a_time_in_a_body_of_linear_is_a_whole_number(stamp: str) -> None:
    body = f'{{"webhookTimestamp":{stamp}}}'.encode()
    signature = hmac.digest(b"s", body, "sha256").hex()
    good = body.replace(stamp.encode(), b"1790000000000")
    one = provider("linear", "s")
    assert "timestamp" in refusal(one, request(body, {"Linear-Signature": signature}))
    assert received(one, request(good, {"Linear-Signature": hmac.digest(b"s", good, "sha256").hex()}))


def test_linear_has_a_minute() -> None:
    sent = posted(delivery("linear", PACKS["linear"].sample()))
    for seconds, good in ((60, True), (-60, True), (61, False), (-61, False)):
        verdict = example("linear").receive(replace(sent, now=Millis(NOW + seconds * 1000)))
        assert (type(verdict).__name__ == "Received") is good


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a%20b", "a b"), ("%E2%82%AC", "€"), ('"a b"', "a b"), (r'"a\"b\\"', 'a"b\\'), ("100%25", "100%"), ("%2525", "%25"),
        ('"%41"', "A"), ("a+b", "a+b"), ("100%", "100%"), ('"', '"'), ("\xc3\xa9", "é"),
    ],
)  # fmt: skip
def test_attributes_of_cloudevents_in_headers_are_decoded_once(text: str, value: str) -> None:
    given = {
        "Authorization": "Bearer t",
        "ce-id": text,
        "ce-type": "a",
        "ce-subject": text,
        "content-type": "text/plain",
    }
    [event] = received(provider("cloudevents", "t"), request(b"\xff", given)).events
    assert (event.external_id, event.subject, event.weak, event.dead) == (value, value, False, None)


@pytest.mark.parametrize("text", ["%FF", "\xe9", "%C3", "%ED%A0%80"])
def test_an_attribute_of_cloudevents_that_is_no_utf8_is_dead(text: str) -> None:
    given = {"Authorization": "Bearer t", "ce-id": "e-1", "ce-type": text}
    [event] = received(provider("cloudevents", "t"), request(b"", given)).events
    assert (event.external_id, event.dead) == ("e-1", Reason.UNPARSABLE)


def test_cloudevents_come_in_batches() -> None:
    body = b'[{"id":"1","type":"a"},{"id":"2","type":"b","subject":"s"}]'
    given = {"Authorization": "bearer t", "content-type": "application/cloudevents-batch+json"}
    events = received(provider("cloudevents", "t"), request(body, given)).events
    assert [(each.external_id, each.type, each.part) for each in events] == [
        ("1", "a", "/0"),
        ("2", "b", "/1"),
    ]


def test_a_token_of_cloudevents_comes_in_one_way_only() -> None:
    one, bearer = provider("cloudevents", "t"), {"Authorization": "Bearer t"}
    plain = request(b"{}", {})
    assert received(one, replace(plain, query="access_token=t"))
    assert "too many" in refusal(one, replace(request(b"{}", bearer), query="access_token=t"))
    assert refusal(one, replace(plain, query="access_token=t&access_token=t"))
    assert refusal(one, replace(plain, query="access_token=x"))
    assert refusal(one, replace(plain, query="access_token="))


def graph(*items: dict[str, str]) -> bytes:
    return msgspec.json.encode({"value": items})


def test_notifications_of_graph_that_are_alike_are_events_of_their_own() -> None:
    item = {"clientState": "s", "changeType": "updated", "resource": "me/drive/root"}
    one, asked = provider("msgraph", "s"), request(graph(item, item))
    ids = [event.external_id for _ in range(2) for event in received(one, asked).events]
    assert len(set(ids)) == 4
    named = received(one, request(graph({**item, "id": "n-1"}))).events[0]
    assert (named.external_id, named.weak) == ("n-1", False)


def test_each_item_of_graph_must_hold_a_live_secret() -> None:
    one = provider("msgraph", "new", "gr\xfc\xdfe")
    new, old = {"clientState": "new"}, {"clientState": "gr\xfc\xdfe"}
    assert received(one, request(graph(new, old))).secret == "env:S0"
    for body in (graph(), graph(new, {"clientState": "x"}), graph(new, {}), b'{"value":{"clientState":"new"}}', b"{}",
                 b'[{"clientState":"new"}]', b'{"value":[{"clientState":["new"]}]}', b'{"value":["new"]}'):  # fmt: skip
        assert refusal(one, request(body))


def test_a_lifecycle_notification_of_graph_is_of_its_own_type() -> None:
    body = graph({"clientState": "s", "lifecycleEvent": "reauthorizationRequired"})
    assert received(provider("msgraph", "s"), request(body)).events[0].type == "reauthorizationRequired"


def test_what_shows_who_sends_is_not_kept() -> None:
    for pack in ("cloudevents", "monday", "okta", "postmark"):
        sent = delivery(pack, PACKS[pack].sample())
        assert "authorization" in sent.headers
        kept = received(example(pack), posted(sent)).kept_headers
        assert not [value for name, value in kept if name == "authorization" or secret_of(pack) in value]


def test_an_empty_batch_is_answered_and_stores_nothing() -> None:
    for pack, body in (("okta", b'{"data":{"events":[]}}'), ("hubspot", b"[]"), ("cloudevents", b"[]")):
        verdict = example(pack).receive(posted(delivery(pack, body)))
        assert (type(verdict).__name__, getattr(verdict, "status", None)) == ("Challenge", 200)


def test_headers_that_count_are_refused_when_they_are_repeated() -> None:
    for pack in ("svix", "clerk", "resend", "openai", "gitlab", "linear", "twitch", "zoom", "square", "hubspot", "twilio",
                 "contentful", "meta", "okta", "postmark", "cloudevents", "monday"):  # fmt: skip
        sent = delivery(pack, PACKS[pack].sample())
        beside = {"content-type", "twitch-eventsub-subscription-type"}
        for name in set(sent.headers) - beside:
            twice = (*headers(sent.headers), (name, sent.headers[name]))
            again = replace(posted(sent), headers=twice)
            assert refusal(example(pack), again) == f"the header {name} is repeated"
