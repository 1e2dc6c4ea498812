"""Whatever arrives: nothing raises, nothing forged is accepted, and what is accepted can be stored."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.unit.packs.support import (
    ANSWERS_ANYONE,
    BODY_IS_NOT_SIGNED,
    NOW,
    PROOF_INSIDE,
    PROOF_OF_NOTHING,
    SIGNED_INSIDE,
    VERIFYING,
    delivery,
    example,
    other_secret_of,
    posted,
    provider,
    received,
    request,
    secret_of,
)

from surehook.clock import Millis
from surehook.errors import InvalidRequest
from surehook.mac import Hmac
from surehook.model import Headers, NewEvent
from surehook.packs import PACKS, Challenge, Delivery, Received, Refused
from surehook.packs.reading import FAULTS
from surehook.packs.schemes.keys import HmacKey
from surehook.packs.signed import SignedPack
from surehook.retry import DAY
from surehook.secrets import Secret

#: Headers that prove who sends where the body is not signed.
CREDENTIALS = {"authorization", "x-webhook-token"}
HEX = "0123456789abcdef" * 4
PROVIDERS = {pack: example(pack) for pack in PACKS}
UNSIGNED = {
    "idempotency-key",
    "x-shopify-triggered-at",
    "shopify-triggered-at",
    "shopify-resource-id",
    "x-buildkite-token",
    "x-docusign-signature-2",
    "x-other",
}
NAMES = sorted(UNSIGNED | {name for pack in PACKS for name in delivery(pack, PACKS[pack].sample()).headers})

latin = st.text(st.characters(max_codepoint=255), max_size=80)
looks_signed = st.sampled_from(
    [f"t={NOW // 1000},v1={HEX}", f"sha256={HEX}", f"v0={HEX}", HEX, "v1," + base64.b64encode(bytes(32)).decode(),
     "v1a," + base64.b64encode(bytes(64)).decode(), "v1a,AAAA", str(NOW // 1000), "Basic dXNlcjpw", "Basic !", "v1," * 3000,
     f"t={NOW // 1000}" + f",v1={HEX}" * 1000, "msg_1", "application/json", "application/x-www-form-urlencoded", "",
     "\ud800", "\0", "\u2028"]
)  # fmt: skip
hostile_headers = st.lists(st.tuples(st.sampled_from(NAMES), latin | looks_signed), max_size=12).map(tuple)

leaf = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
json_like = st.recursive(
    leaf,
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["id", "type", "event", "data", "object", "created", "challenge", "payload"]), inner),
    max_leaves=12,
)  # fmt: skip
pieces = st.sampled_from(
    [b"{", b"}", b"[", b"]", b":", b",", b'"id"', b'"type"', b'"url_verification"', b'"\\u0000"', b'"\\ud800"', b"\xff",
     b"NaN", b"1e999", b"9" * 5000, b"[" * 3000, b"-", b'"event_id"', b'"challenge"', b"payload=", b"%FF", b"&", b" "]
)  # fmt: skip
bodies = (
    st.binary(max_size=200) | st.lists(pieces, max_size=12).map(b"".join) | json_like.map(msgspec.json.encode)
)

objects = st.dictionaries(
    st.sampled_from(["id", "mid", "type", "status", "field", "time", "timestamp", "uuid", "is_echo"]),
    json_like,
)
#: Bodies of the shapes that some packs look into: the only ones that can be signed where the proof stands in the body.
FITTING = {
    "linear": objects.map(msgspec.json.encode),
    "meta": st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "id": json_like,
                "time": json_like,
                "changes": st.lists(
                    st.fixed_dictionaries(
                        {
                            "field": st.just("messages") | json_like,
                            "value": st.fixed_dictionaries(
                                {}, optional={"messages": st.lists(objects), "statuses": json_like}
                            ),
                        }
                    )
                    | json_like
                ),
                "messaging": st.lists(st.fixed_dictionaries({"message": objects | json_like}) | json_like),
            },
        )
        | json_like
    ).map(lambda entries: msgspec.json.encode({"object": "page", "entry": entries})),
    "msgraph": st.lists(objects, min_size=1).map(lambda items: msgspec.json.encode({"value": items})),
}


def bent(node: Any, draw: st.DrawFn) -> Any:
    """A copy of a sample in which one thing, somewhere, is another one."""
    inside = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    members = dict(inside)
    if not members or draw(st.integers(0, 4)) == 0:
        return draw(json_like)
    key = draw(st.sampled_from(list(members)))
    members[key] = bent(members[key], draw)
    return members if isinstance(node, dict) else list(members.values())


@st.composite
def bent_samples(draw: st.DrawFn, pack: str) -> bytes:
    """What a sender might send that has changed its mind about a part of its bodies."""
    try:
        return msgspec.json.encode(bent(msgspec.json.decode(PACKS[pack].sample()), draw))
    except msgspec.DecodeError:
        return draw(bodies)  # the sample is no JSON


def json_of(body: bytes) -> Any:
    """What a body holds, or else its text."""
    try:
        return msgspec.json.decode(body)
    except FAULTS:
        return body.decode("latin-1")


#: Puts what was generated into a body in which a signature has a place.
PLACES_INSIDE: dict[str, Callable[[bytes], bytes]] = {
    "adyen": lambda body: msgspec.json.encode(
        {
            "notificationItems": [
                {"NotificationRequestItem": {"reason": json_of(body), "eventDate": json_of(body)}},
                {
                    "NotificationRequestItem": {
                        "pspReference": repr(body),
                        "eventCode": body.decode("latin-1"),
                    }
                },
            ]
        }
    ),
    "mailgun": lambda body: msgspec.json.encode({"event-data": json_of(body)}),
}


def assert_storable(event: NewEvent) -> None:
    """UTF-8 text without NUL, of a length that an index takes."""
    for text in (event.external_id, event.type, event.subject or "", event.error or ""):
        assert "\0" not in text
        assert text.encode("utf-8").decode() == text
    assert 0 < len(event.external_id.encode()) <= 255
    assert 0 < len(event.type) <= 255


@pytest.mark.parametrize("pack", VERIFYING)
@settings(max_examples=60, deadline=None)
@given(headers=hostile_headers, body=bodies, topic=st.text(max_size=5))
def test_nothing_forged_is_accepted(pack: str, headers: Headers, body: bytes, topic: str) -> None:
    verdict = PROVIDERS[pack].receive(request(body, headers, topic=topic))
    assert isinstance(verdict, Refused) or (pack in ANSWERS_ANYONE and isinstance(verdict, Challenge))


@pytest.mark.parametrize("pack", sorted(PACKS))
@settings(max_examples=40, deadline=None)
@given(data=st.data(), extra=hostile_headers)
def test_whatever_is_authentic_is_stored(pack: str, data: st.DataObject, extra: Headers) -> None:
    fitting = FITTING.get(pack, st.nothing())
    body = data.draw(fitting if pack in PROOF_INSIDE else bodies | bent_samples(pack) | fitting)
    if pack in PLACES_INSIDE:
        body = PLACES_INSIDE[pack](body)
    try:
        sent = delivery(pack, body)
    except (InvalidRequest, *FAULTS):
        assume(False)  # a signature that stands in the body has no place in this one
    # of what is signed inside the body, the content type says where
    free = {"content-type"} - (sent.headers.keys() if pack in SIGNED_INSIDE else set())
    beside = {name: value for name, value in extra if name not in sent.headers or name in free}
    verdict = PROVIDERS[pack].receive(posted(sent, **beside))
    assert isinstance(verdict, Received | Challenge)
    for event in verdict.events if isinstance(verdict, Received) else ():
        assert_storable(event)


@settings(max_examples=100, deadline=None)
@given(headers=hostile_headers, body=bodies)
def test_an_open_provider_never_fails_either(headers: Headers, body: bytes) -> None:
    verdict = PROVIDERS["none"].receive(request(body, headers))
    if isinstance(verdict, Received):
        assert_storable(verdict.events[0])
    else:
        assert isinstance(verdict, Refused)
        assert "repeated" in verdict.detail


def with_other_credentials(sent: Delivery, secret: str, position: int) -> Delivery:
    """One bit of the credentials changed: they stand in a header, or in the body."""
    names = CREDENTIALS & sent.headers.keys()
    text = sent.headers[next(iter(names))] if names else secret
    raw = bytearray(text, "latin-1")
    raw[-1 - position // 8 % 20] ^= 1 << position % 7
    if names:
        return replace(sent, headers={**sent.headers, names.pop(): raw.decode("latin-1")})
    assert secret.encode() in sent.body
    return replace(sent, body=sent.body.replace(secret.encode(), bytes(raw)))


@pytest.mark.parametrize("pack", VERIFYING)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_one_changed_bit_is_enough(pack: str, data: st.DataObject) -> None:
    """Of the body where it is signed, else of the credentials."""
    sent = delivery(pack, PACKS[pack].sample())
    before = received(PROVIDERS[pack], posted(sent))
    position = data.draw(st.integers(0, len(sent.body) * 8 - 1))
    if pack in BODY_IS_NOT_SIGNED:
        sent = with_other_credentials(sent, secret_of(pack), position)
    else:
        changed, at = bytearray(sent.body), position // 8
        if pack in PROOF_OF_NOTHING:
            proof = re.search(PROOF_OF_NOTHING[pack], sent.body)
            assert proof
            at = proof.start() + at % len(proof[0])
        changed[at] ^= 1 << position % 8
        sent = replace(sent, body=bytes(changed))
    verdict = PROVIDERS[pack].receive(posted(sent))
    if pack in SIGNED_INSIDE and isinstance(verdict, Received):
        assert told(verdict) == told(before)  # the same, written in another way, or what is not covered
    else:
        assert isinstance(verdict, Refused)


def told(verdict: Received) -> list[tuple[str, str]]:
    """What the events are, as far as every sender's signature covers it."""
    return [("" if event.weak else event.external_id, event.type) for event in verdict.events]


#: So large that all else that is hashed does not count.
LARGE = b'{"id":"' + b"x" * 100_000 + b'"}'


def uses_hmac(name: str) -> bool:
    """A public key has nothing that time could tell."""
    pack = PACKS[name]
    return isinstance(pack, SignedPack) and isinstance(pack.key(Secret(secret_of(name))), HmacKey)


GARBLED = [
    "",
    "garbage",
    "t=1",
    f"t={NOW // 1000},v1=",
    f"sha256={HEX}",
    HEX,
    "v1,",
    "v1," + "A" * 44,
    "\xff",
]


@pytest.mark.parametrize("secrets", [1, 3])
@pytest.mark.parametrize("pack", [name for name in VERIFYING if uses_hmac(name)])
def test_every_refusal_costs_the_same(pack: str, secrets: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted in bytes that are hashed, for which an HMAC is what takes time."""
    settings = {name: getattr(PACKS[pack].example, name) for name in PACKS[pack].settings}
    one = provider(pack, *[secret_of(pack)] * secrets, **settings)
    digest, hashed = Hmac.digest, [0]

    def counting(self: Hmac, parts: Iterable[bytes]) -> bytes:
        hashed[0] += sum(map(len, parts))
        return digest(self, parts)

    monkeypatch.setattr(Hmac, "digest", counting)
    forged = PACKS[pack].sign(other_secret_of(pack), LARGE, NOW, external_id="e-1", type="a.b")
    stale = PACKS[pack].sign(secret_of(pack), LARGE, Millis(NOW - DAY), external_id="e-1", type="a.b")
    wrong = [forged, stale, replace(forged, headers={})]
    wrong += [
        replace(forged, headers={**forged.headers, name: value})
        for name in forged.headers
        for value in GARBLED
    ]
    costs = set()
    for sent in wrong:
        hashed[0] = 0
        if isinstance(one.receive(posted(sent)), Refused):
            costs.add(round(hashed[0] / len(LARGE), 1))
    assert costs == {float(secrets)}
