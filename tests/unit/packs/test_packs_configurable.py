"""The packs whose scheme and places the settings name."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from tests.unit.packs.support import NOW, event, provider, received, refusal, request

from surehook.errors import ConfigurationError
from surehook.packs import Draft, Provider
from surehook.states import Reason

BODY = b'{"id":"order-7","event":{"type":"order.paid","of":[{"ref":"c-1"}]},"at":1790000000}'
JSON = {"content-type": "application/json"}


def digest(secret: str, body: bytes, algorithm: str = "sha256") -> bytes:
    return hmac.digest(secret.encode(), body, algorithm)


@pytest.mark.parametrize(
    ("settings", "value"),
    [
        ({}, digest("s", BODY).hex()),
        ({"algorithm": "sha1"}, digest("s", BODY, "sha1").hex()),
        (
            {"algorithm": "sha512", "encoding": "base64"},
            base64.b64encode(digest("s", BODY, "sha512")).decode(),
        ),
        ({"prefix": "sha256="}, "sha256=" + digest("s", BODY).hex()),
        ({"prefix": "v1="}, "v1=00, v2=aa,v1=" + digest("s", BODY).hex()),
        ({"signed": "POST\n{body}\n"}, digest("s", b"POST\n" + BODY + b"\n").hex()),
    ],
)
def test_hmac_verifies_as_it_is_told(settings: dict[str, Any], value: str) -> None:
    one = provider("hmac", "s", header="X-Sig", **settings)
    assert received(one, request(BODY, {"X-Sig": value})).secret == "env:S0"
    assert refusal(one, request(BODY + b" ", {"X-Sig": value}))
    assert refusal(one, request(BODY, {"X-Sig": value.upper()}))
    assert refusal(one, request(BODY, {"X-Other": value}))


def test_hmac_checks_a_signed_time_and_id() -> None:
    one = provider(
        "hmac",
        "s",
        header="X-Sig",
        id="header:X-Id",
        signed="{id}:{timestamp}:{body}",
        timestamp_header="X-Time",
    )
    assert one.id_is_signed
    stamp = str(NOW // 1000)
    sent = {"X-Id": "e1", "X-Time": stamp, "X-Sig": digest("s", f"e1:{stamp}:".encode() + BODY).hex()}
    assert event(one, request(BODY, sent)).external_id == "e1"
    assert "more than 300 s" in refusal(one, request(BODY, sent, now=NOW + 300_001))
    assert refusal(one, request(BODY, {**sent, "X-Id": "e2"}))
    assert "x-time is missing" in refusal(
        one, request(BODY, {k: v for k, v in sent.items() if k != "X-Time"})
    )


@pytest.mark.parametrize(
    ("settings", "covered"),
    [({"id": "body:/id"}, True), ({"id": "header:X-Id"}, False), ({}, False)],
)
def test_hmac_knows_whether_the_signature_covers_the_id(settings: dict[str, Any], covered: bool) -> None:
    assert provider("hmac", "s", header="X-Sig", **settings).id_is_signed is covered


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "say which header carries the signature"),
        ({"header": "X Sig"}, "names no header"),
        ({"header": "X-Sig", "algorithm": "sha265"}, "Did you mean 'sha256'"),
        ({"header": "X-Sig", "encoding": "base46"}, "Did you mean 'base64'"),
        ({"header": "X-Sig", "prefix": "a,b"}, "cannot be told from a separator"),
        ({"header": "X-Sig", "id": "body:id"}, "write 'header:NAME' or 'body:/json/pointer'"),
        ({"header": "X-Sig", "type": "body:/a~2"}, "is no place in a request"),
        ({"header": "X-Sig", "subject": "path:/a"}, "is no place in a request"),
        ({"header": "X-Sig", "tolerance": 10}, "tolerance needs timestamp_header"),
        ({"header": "X-Sig", "signed": "{timestamp}{body}"}, "belong together"),
        ({"header": "X-Sig", "signed": "{id}{body}", "id": "body:/id"}, "which header carries it"),
    ],
)
def test_hmac_refuses_settings_that_cannot_work(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        provider("hmac", "s", **settings)
    assert message in str(caught.value)
    assert str(caught.value).startswith("providers.acme: ")


def test_token_is_compared_and_never_kept() -> None:
    one = provider("token", "t0ken", "öld", header="X-Token")
    verdict = received(one, request(BODY, {"X-Token": "t0ken", "X-Id": "1", "Cookie": "c"}))
    assert verdict.kept_headers == (("x-id", "1"),)
    assert received(one, request(BODY, {"X-Token": "öld".encode().decode("latin-1")})).secret == "env:S1"
    for wrong in ("", "t0ke", "t0ken ", "T0KEN", "\xe9", "t0ken,t0ken"):
        assert refusal(one, request(BODY, {"X-Token": wrong}))
    assert "repeated" in refusal(one, request(BODY, (("x-token", "t0ken"), ("x-token", "t0ken"))))


def test_token_can_stand_behind_a_prefix() -> None:
    one = provider("token", "t0ken", header="Authorization", prefix="Bearer ")
    assert received(one, request(BODY, {"Authorization": "Bearer t0ken"})).kept_headers == ()
    assert refusal(one, request(BODY, {"Authorization": "t0ken"}))


def test_token_needs_a_header() -> None:
    with pytest.raises(ConfigurationError, match="which header"):
        provider("token", "t0ken")


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def test_basic_takes_one_user_and_password() -> None:
    one = provider("basic", "ada:l0ve:lace")
    assert received(one, request(BODY, basic("ada:l0ve:lace"))).kept_headers == ()
    lower = {"authorization": basic("ada:l0ve:lace")["Authorization"].replace("Basic", "basic")}
    assert received(one, request(BODY, lower)).secret == "env:S0"
    for wrong in (
        basic("ada:"),
        basic("ada:l0ve"),
        {"Authorization": "Basic !!"},
        {"Authorization": "Bearer x"},
        {},
    ):
        assert refusal(one, request(BODY, wrong))


def test_basic_needs_user_and_password() -> None:
    with pytest.raises(ConfigurationError, match="user:password"):
        provider("basic", "secret")


def test_basic_with_several_live_secrets() -> None:
    one = provider("basic", "a:1", "a:2")
    assert received(one, request(BODY, basic("a:2"))).secret == "env:S1"


def test_none_accepts_everyone_and_names_no_secret() -> None:
    verdict = received(provider("none"), request(BODY, {"Authorization": "x", "X-A": "1"}))
    assert (verdict.secret, verdict.kept_headers) == ("", (("x-a", "1"),))


def test_none_with_secrets_is_a_mistake() -> None:
    with pytest.raises(ConfigurationError, match="verifies nothing"):
        provider("none", "secret")


def test_none_has_weak_ids_where_there_is_none() -> None:
    first = event(provider("none"), request(BODY, topic="orders"))
    assert (first.external_id, first.weak, first.type) == (hashlib.sha256(BODY).hexdigest(), True, "orders")
    assert event(provider("none"), request(BODY)).type == "acme"


PLACES: dict[str, Any] = {
    "id": "body:/id",
    "type": "body:/event/type",
    "subject": "body:/event/of/0/ref",
    "occurred_at": "body:/at",
}


def test_everything_is_read_where_the_settings_say() -> None:
    found = event(provider("none", **PLACES), request(BODY))
    assert (found.external_id, found.type, found.subject) == ("order-7", "order.paid", "c-1")
    assert (found.occurred_at, found.weak, found.dead) == (NOW, False, None)


def test_headers_serve_as_well_as_the_body() -> None:
    one = provider(
        "none", id="header:X-Id", type="header:X-Type", subject="header:X-Of", occurred_at="header:X-At"
    )
    sent = {"X-Id": "1", "X-Type": "a.b", "X-Of": "c", "X-At": "2026-09-21T14:13:20.5Z"}
    found = event(one, request(b"<xml/>", sent))
    assert (found.external_id, found.type, found.subject, found.occurred_at) == ("1", "a.b", "c", NOW + 500)
    assert found.dead is None


def test_idempotency_key_is_the_id_where_no_other_is_named() -> None:
    sent = {"Idempotency-Key": "k-1"}
    assert event(provider("none"), request(BODY, sent)).external_id == "k-1"
    assert event(provider("none", id="body:/id"), request(BODY, sent)).external_id == "order-7"
    assert event(provider("none", id="body:/missing"), request(BODY, sent)).weak


POINTERS = [
    ("/a~1b", "slash"), ("/m~0n", "tilde"), ("/ ", "space"), ("/k\"l", "quote"), ("/", "empty"), ("/ö", "umlaut"),
    ("/list/0", "first"), ("/list/1/x", "second"), ("/list/00", None), ("/list/-", None), ("/list/9", None),
    ("/list/1/x/y", None), ("/~01", "tilde-one"), ("/nothing", None), ("/list", None),
]  # fmt: skip
POINTED = (
    '{"a/b":"slash","m~n":"tilde"," ":"space","k\\"l":"quote","":"empty","\\u00f6":"umlaut","~1":"tilde-one",'
    '"list":["first",{"x":"second"}],"nothing":null}'
)


@pytest.mark.parametrize(("pointer", "value"), POINTERS)
def test_pointers_follow_rfc_6901(pointer: str, value: str | None) -> None:
    assert event(provider("none", subject=f"body:{pointer}"), request(POINTED.encode())).subject == value


def test_json_that_is_not_is_dead_but_only_where_json_is_meant() -> None:
    plain, pointed = provider("none"), provider("none", type="body:/type")
    assert event(plain, request(b"a=1")).dead is None
    assert event(plain, request(b"\xff\0")).dead is None
    for one, asked in [(plain, request(b"{", JSON)), (pointed, request(b"{")), (plain, request(b"", JSON))]:
        assert event(one, asked).dead is Reason.UNPARSABLE


@pytest.mark.parametrize("pack", ["hmac", "token", "basic", "none"])
def test_a_provider_accepts_what_it_signs_itself(pack: str) -> None:
    settings: dict[str, Any] = {"header": "X-Sig"} if pack in ("hmac", "token") else {}
    one: Provider = provider(pack, *([] if pack == "none" else ["user:pass"]), id="header:X-Id", **settings)
    sent = one.sign(Draft(one.sample(), NOW, "e-1", "a")).headers
    assert event(one, request(one.sample(), sent)).external_id == "e-1"
