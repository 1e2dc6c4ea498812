"""Senders that sign the address: with or without its port, with its escapes or without, and what a GET says in it."""

from __future__ import annotations

import base64
import hashlib
import hmac
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from starlette.datastructures import MultiDict
from tests.unit.packs.support import (
    NOW,
    delivery,
    example,
    headers,
    posted,
    provider,
    received,
    refusal,
    secret_of,
)
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # it has no types

from surehook.config import ProviderSettings, ServerSettings
from surehook.errors import ConfigurationError
from surehook.packs import PACKS, Request, build_provider
from surehook.packs.address import port_spellings
from surehook.secrets import Secret

URL = "https://hooks.example.com/webhooks/acme"
SIGNING_URLS = sorted(name for name in PACKS if PACKS[name].signs_url)


def twilio_request(
    url: str, signed: str = "", *, method: str = "POST", body: bytes = b"", query: str = ""
) -> Request:
    signature = base64.b64encode(hmac.digest(b"s", (url + signed).encode(), "sha1")).decode()
    given = {"X-Twilio-Signature": signature, "content-type": "application/x-www-form-urlencoded"}
    return Request("acme", "", method, headers(given), body, NOW, query)


@pytest.mark.parametrize(
    ("url", "spellings"),
    [
        ("https://a.example/x?y=b:1", ["https://a.example/x?y=b:1", "https://a.example:443/x?y=b:1"]),
        ("http://a.example", ["http://a.example", "http://a.example:80"]),
        ("https://a.example:8443/x", ["https://a.example:8443/x", "https://a.example/x"]),
        ("https://u:p@a.example/x", ["https://u:p@a.example/x", "https://u:p@a.example:443/x"]),
        ("https://u:p@a.example:443?z", ["https://u:p@a.example:443?z", "https://u:p@a.example?z"]),
        ("https://[::1]:1/x", ["https://[::1]:1/x", "https://[::1]/x"]),
        ("https://[::1]/x", ["https://[::1]/x", "https://[::1]:443/x"]),
    ],
)
def test_an_address_with_and_without_its_port(url: str, spellings: list[str]) -> None:
    assert port_spellings(url) == spellings


def test_a_get_of_twilio_is_stored_as_the_form_that_its_query_is() -> None:
    one, query = provider("twilio", "s", url=URL), "CallSid=CA1&CallStatus=ringing&From=%2B1555"
    asked = twilio_request(f"{URL}?{query}", method="GET", query=query)
    token = ("i-twilio-idempotency-token", "t-1")
    verdict = received(one, replace(asked, headers=(*asked.headers, token)))
    [event] = verdict.events
    assert verdict.body == query.encode()
    assert (event.external_id, event.type, event.subject) == ("t-1", "call.ringing", "CA1")
    weak = received(one, twilio_request(f"{URL}?{query}", method="GET", query=query))
    assert weak.events[0].external_id == hashlib.sha256(query.encode()).hexdigest()
    assert "could become the other" in refusal(
        one, twilio_request(f"{URL}?{query}", method="POST", query=query)
    )
    body = twilio_request(f"{URL}?{query}", method="GET", query=query, body=b"A=1")
    assert "could become the other" in refusal(one, body)


def test_a_json_request_of_twilio_cannot_be_sent_again_with_another_body() -> None:
    one = provider("twilio", "s", url=URL)
    body = b'{"id":"EZ1","type":"com.twilio.messaging.message.delivered"}'
    query = f"bodySHA256={hashlib.sha256(body).hexdigest()}"
    good = twilio_request(f"{URL}?{query}", body=body, query=query)
    assert received(one, good).events[0].external_id == "EZ1"
    for other in (b"", b"A=1", b"[]"):
        assert "is not the body's" in refusal(one, twilio_request(f"{URL}?{query}", body=other, query=query))
    twice = f"{query}&{query}"
    assert refusal(one, twilio_request(f"{URL}?{twice}", body=body, query=twice))
    upper = f"bodySHA256={hashlib.sha256(body).hexdigest().upper()}"
    assert refusal(one, twilio_request(f"{URL}?{upper}", body=body, query=upper))


def test_event_streams_bring_several_events_at_once() -> None:
    body = b'[{"id":"EZ1","type":"a"},{"id":"EZ2","type":"b","data":{"messageSid":"SM1"}}]'
    sent = delivery("twilio", body)
    events = received(example("twilio"), posted(sent)).events
    assert [(each.external_id, each.type, each.subject) for each in events] == [
        ("EZ1", "a", None),
        ("EZ2", "b", "SM1"),
    ]


@pytest.mark.parametrize(
    ("body", "signed"),
    [
        (b"B=2&A=1", "A1B2"), (b"A=&B=2", "AB2"), (b"A=2&A=1&A=2", "A1A2"), (b"A=%C3%A9+x", "A\xe9 x"),
        (b"A=1&a=2&B=3", "A1B3a2"),
    ],
)  # fmt: skip
def test_the_fields_of_a_form_are_signed_in_their_order(body: bytes, signed: str) -> None:
    assert received(provider("twilio", "s", url=URL), twilio_request(URL, signed, body=body))


ORACLE = RequestValidator("s")
WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.dictionaries(WORDS, st.lists(WORDS | st.just(""), min_size=1, max_size=3), min_size=1, max_size=5))
def test_forms_are_signed_as_the_official_library_computes(fields: dict[str, list[str]]) -> None:
    form = MultiDict([(name, value) for name, values in fields.items() for value in values])
    signature = ORACLE.compute_signature(URL, form)
    asked = Request(
        "acme",
        "",
        "POST",
        headers({"X-Twilio-Signature": signature}),
        urlencode(fields, doseq=True).encode(),
        NOW,
    )
    assert received(provider("twilio", "s", url=URL), asked)


@given(st.binary(max_size=60))
def test_the_official_library_verifies_what_the_pack_signs(body: bytes) -> None:
    settings = ProviderSettings(url=URL)
    sent = PACKS["twilio"].sign(
        "s", b'{"x":"' + body.hex().encode() + b'"}', NOW, external_id="e", type="a", settings=settings
    )
    url = f"{URL}?{sent.query}"
    assert ORACLE.validate(url, sent.body.decode(), sent.headers["x-twilio-signature"])
    form = b"A=" + body.hex().encode()
    posted_form = PACKS["twilio"].sign("s", form, NOW, external_id="e", type="a", settings=settings)
    assert ORACLE.validate(URL, {"A": body.hex()}, posted_form.headers["x-twilio-signature"])


def test_a_form_of_twilio_that_is_not_utf8_is_stored_dead() -> None:
    body = b"MessageSid=SM1&Body=%FF"
    signature = base64.b64encode(hmac.digest(b"s", URL.encode() + b"Body\xffMessageSidSM1", "sha1")).decode()
    asked = Request("acme", "", "POST", headers({"X-Twilio-Signature": signature}), body, NOW)
    [event] = received(provider("twilio", "s", url=URL), asked).events
    assert event.dead is not None
    changed = Request("acme", "", "POST", asked.headers, body.replace(b"%FF", b"%FE"), NOW)
    assert refusal(provider("twilio", "s", url=URL), changed)


@pytest.mark.parametrize("fields", [b"&".join(b"f%d=1" % n for n in range(1001)), b"A" * 10])
def test_strange_forms_are_refused_and_not_failed_on(fields: bytes) -> None:
    assert refusal(provider("twilio", "s", url=URL), twilio_request(URL, "x", body=fields))


@pytest.mark.parametrize(
    "text", ["key=a", "algorithm=HMAC_SHA256,algorithm=HMAC_SHA1", "algorithm=", "algorithm=sha256"]
)
def test_twilio_must_name_one_known_algorithm(text: str) -> None:
    asked = twilio_request(URL, "A1", body=b"A=1")
    named = replace(asked, headers=(*asked.headers, ("x-twilio-webhooks-signature-settings", text)))
    assert "no known algorithm" in refusal(provider("twilio", "s", url=URL), named)


def test_twilio_is_answered_with_an_empty_document() -> None:
    assert provider("twilio", "s", url=URL).response == (200, b"<Response/>", "text/xml")


def hubspot_request(signed: str, query: str, *, method: str = "POST", body: bytes = b"[]") -> Request:
    text = f"{method}{signed}".encode() + body + str(NOW).encode()
    signature = base64.b64encode(hmac.digest(b"s", text, "sha256")).decode()
    given = {"X-HubSpot-Signature-v3": signature, "X-HubSpot-Request-Timestamp": str(NOW)}
    return Request("acme", "", method, headers(given), body, NOW, query)


def test_hubspot_decodes_the_escapes_that_it_names_and_no_others() -> None:
    one, query = provider("hubspot", "s", url=URL), "a=%3A%2f%3F%40%21%24%27%28%29%2A%2C%3B&b=%26%25%20"
    decoded = "a=:/?@!$'()*,;&b=%26%25%20"
    for signed in (query, decoded):
        body = b'[{"eventId":1}]'
        assert received(one, hubspot_request(f"{URL}?{signed}", query, body=body))
    assert refusal(one, hubspot_request(f"{URL}?{decoded.replace('%26', '&')}", query))


def test_a_get_of_hubspot_is_stored_from_its_query() -> None:
    one = provider("hubspot", "s", url=URL)
    verdict = received(one, hubspot_request(f"{URL}?vid=7", "vid=7", method="GET", body=b""))
    assert verdict.body == b"vid=7"
    assert verdict.events[0].external_id == hashlib.sha256(b"vid=7").hexdigest()
    assert verdict.events[0].dead is None


def test_hubspot_takes_what_comes_alone_too() -> None:
    body = b' {"eventId":7,"subscriptionType":"contact.creation"}'
    [event] = received(example("hubspot"), posted(delivery("hubspot", body))).events
    assert (event.external_id, event.type, event.part, event.weak) == ("7", "contact.creation", None, False)


def contentful_request(path: str, query: str, *, names: str, stamp: int = NOW) -> Request:
    given = {
        "x-contentful-topic": "ContentManagement.Entry.publish",
        "x-contentful-timestamp": str(stamp),
        "x-contentful-signed-headers": names,
    }
    listed = sorted(names.split(","))
    signed = ";".join(f"{name}:{given.get(name, '')}" for name in listed)
    text = f"POST\n{path}\n{signed}\n{{}}"
    signature = hmac.digest(b"s", text.encode(), "sha256").hex()
    pairs = headers({**given, "x-contentful-signature": signature})
    return Request("acme", "", "POST", pairs, b"{}", NOW, query)


NAMES = "x-contentful-signed-headers,x-contentful-timestamp,x-contentful-topic"


def test_contentful_signs_the_query_escaped_twice() -> None:
    query = "a=1&b=x%20y"
    twice = quote(quote(query, safe=""), safe="")
    asked = contentful_request(f"/webhooks/acme?{twice}", query, names=NAMES)
    assert received(provider("contentful", "s", url=URL), asked)
    once = contentful_request(f"/webhooks/acme?{query}", query, names=NAMES)
    assert refusal(provider("contentful", "s", url=URL), once)


@pytest.mark.parametrize(
    "names",
    [
        "x-contentful-signed-headers,x-contentful-topic", "x-contentful-timestamp", NAMES + ",x-contentful-topic",
        NAMES.upper(), NAMES.replace(",", ", "), NAMES + ",", NAMES + "," + ",".join(f"x-{n}" for n in range(200)),
    ],
)  # fmt: skip
def test_contentful_must_sign_its_time_and_its_names(names: str) -> None:
    asked = contentful_request("/webhooks/acme", "", names=names)
    assert "x-contentful-signed-headers" in refusal(provider("contentful", "s", url=URL), asked)


def test_contentful_that_sends_no_json_is_known_by_its_headers() -> None:
    sent = delivery("contentful", b"title=Copper", "ContentManagement.Entry.save")
    form = {"content-type": "application/x-www-form-urlencoded"}
    [event] = received(example("contentful"), posted(sent, **form)).events
    assert (event.external_id, event.type, event.dead) == ("e-1", "ContentManagement.Entry.save", None)


@pytest.mark.parametrize("pack", SIGNING_URLS)
def test_a_pack_that_signs_the_address_must_know_it_once_it_is_enabled(pack: str) -> None:
    off = ProviderSettings(enabled=False, pack=pack, secrets=("env:A",))
    build_provider("acme", off, lambda name: Secret("s", name), ServerSettings())
    on = ProviderSettings(pack=pack, secrets=("env:A",))
    with pytest.raises(ConfigurationError, match=r"set server\.public_url"):
        build_provider("acme", on, lambda name: Secret("s", name), ServerSettings())
    public = ServerSettings(public_url="https://hooks.example.com")
    one = build_provider("acme", on, lambda name: Secret("s", name), public)
    body = PACKS[pack].sample()
    sent = PACKS[pack].sign("s", body, NOW, external_id="e-1", type="a", settings=ProviderSettings(url=URL))
    assert received(one, posted(sent))


def test_a_token_of_monday_is_meant_for_one_address() -> None:
    sent = delivery("monday", b"{}")
    assert received(example("monday"), posted(sent))
    secret = secret_of("monday")
    assert "another audience" in refusal(provider("monday", secret, url=URL), posted(sent))
    assert received(provider("monday", secret), posted(sent)), "no address is known to compare with"
