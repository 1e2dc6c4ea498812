"""A handshake is answered in its exact shape only; whatever else looks like one goes on to verification."""

from __future__ import annotations

import hmac
import json
from urllib.parse import urlencode

import pytest
from tests.unit.packs.support import NOW, delivery, example, headers, posted, provider, received, refusal

from surehook.config import ProviderSettings, ServerSettings
from surehook.packs import Challenge, Request, build_provider
from surehook.packs.provider import Provider
from surehook.secrets import Secret

NOSNIFF = ("X-Content-Type-Options", "nosniff")
SCRIPT = "<script>alert(1)</script>"


def asked(
    method: str = "POST", query: str = "", body: bytes = b"", given: dict[str, str] | None = None
) -> Request:
    return Request("acme", "", method, headers(given or {}), body, NOW, query)


def answered(one: Provider, request: Request) -> Challenge:
    verdict = one.receive(request)
    assert isinstance(verdict, Challenge), verdict
    return verdict


def test_graph_gets_its_token_back_as_plain_text() -> None:
    one = provider("msgraph", "state")
    found = answered(one, asked(query="code=7&validationToken=" + SCRIPT.replace("<", "%3C") + "+%C3%A9"))
    assert found.body == f"{SCRIPT} é".encode()
    assert found.content_type.startswith("text/plain")
    assert NOSNIFF in found.headers


@pytest.mark.parametrize(
    "request_",
    [
        asked(query="validationToken=a", body=b"{}"),
        asked(query="validationToken="),
        asked(query="validationToken=a&validationToken=b"),
        asked(query="validationToken=%FF"),
        asked(query="validationtoken=a"),
        asked(query="&".join(["a=1"] * 2000) + "&validationToken=a"),
        asked(body=b"validationToken=a", given={"content-type": "text/plain"}),
    ],
    ids=lambda request: request.query[:40],
)
def test_graph_gets_nothing_back_otherwise(request_: Request) -> None:
    assert refusal(provider("msgraph", "state"), request_)


def test_monday_gets_its_challenge_back_as_json() -> None:
    found = answered(provider("monday", "s"), asked(body=json.dumps({"challenge": SCRIPT}).encode()))
    assert json.loads(found.body) == {"challenge": SCRIPT}
    assert (found.content_type, found.headers) == ("application/json", (NOSNIFF,))


@pytest.mark.parametrize(
    "body",
    [b'{"challenge":"a","x":1}', b'{"challenge":1}', b'{"challenge":null}', b'{"challenge":["a"]}', b"{}", b'["challenge"]',
     b'"challenge"', b'{"challenge":"\xff"}', b'{"challenge":"' + b"x" * 2000 + b'"}',
     b'{"event":{"challenge":"a"}}', b"[" * 900],
    ids=lambda body: repr(body[:30]),
)  # fmt: skip
def test_monday_gets_nothing_back_otherwise(body: bytes) -> None:
    assert "authorization is missing" in refusal(provider("monday", "s"), asked(body=body))


def meta_query(**changes: str) -> str:
    shown = {"hub.mode": "subscribe", "hub.challenge": "17", "hub.verify_token": "shown", **changes}
    return urlencode({name: value for name, value in shown.items() if value})


def meta(**secrets: str) -> Provider:
    settings = ProviderSettings(
        pack="meta", secrets=("env:APP",), verify_token="env:TOKEN" if "TOKEN" in secrets else None
    )
    return build_provider(
        "acme", settings, lambda name: Secret(secrets[name.removeprefix("env:")], name), ServerSettings()
    )


def test_meta_is_verified_with_its_own_token_or_else_with_a_secret() -> None:
    good = Challenge(200, b"17", headers=(NOSNIFF,), kind="verification")
    wrong = Challenge(403, kind="verification")
    assert answered(meta(APP="app", TOKEN="shown"), asked("GET", meta_query())) == good
    assert answered(meta(APP="shown"), asked("GET", meta_query())) == good
    # with a token of its own the app's secret, which may not travel in an address, opens nothing
    assert answered(meta(APP="shown", TOKEN="other"), asked("GET", meta_query())) == wrong
    assert answered(meta(APP="other"), asked("GET", meta_query())) == wrong
    umlaut = meta_query(**{"hub.verify_token": "gr\xfc\xdfe"})
    assert answered(meta(APP="app", TOKEN="gr\xfc\xdfe"), asked("GET", umlaut)) == good


@pytest.mark.parametrize(
    "query",
    [
        "", meta_query(**{"hub.mode": "unsubscribe"}), meta_query(**{"hub.mode": ""}), meta_query(**{"hub.challenge": ""}),
        meta_query(**{"hub.verify_token": ""}), meta_query() + "&hub.challenge=18", meta_query() + "&x=%FF",
    ],
)  # fmt: skip
def test_meta_gets_no_answer_to_another_get(query: str) -> None:
    assert "must be a verification" in refusal(meta(APP="shown"), asked("GET", query))


def test_a_signed_get_of_meta_is_no_event() -> None:
    sent = delivery("meta", b"")
    get = Request("acme", "", "GET", headers(sent.headers), b"", NOW, "")
    assert "must be a verification" in refusal(example("meta"), get)


def test_okta_is_answered_with_its_value_or_without_but_not_with_a_wrong_one() -> None:
    one, challenge = provider("okta", "value"), {"X-Okta-Verification-Challenge": SCRIPT}
    for given in ({}, {"Authorization": "value"}):
        found = answered(one, asked("GET", given={**challenge, **given}))
        assert json.loads(found.body) == {"verification": SCRIPT}
        assert (found.content_type, found.headers) == ("application/json", (NOSNIFF,))
    assert refusal(one, asked("GET", given={**challenge, "Authorization": "other"}))
    assert "is missing" in refusal(one, asked("GET", given={"Authorization": "value"}))
    assert "no body" in refusal(one, asked("GET", body=b"{}", given=challenge))
    assert "is missing" in refusal(one, asked("POST", given=challenge))


def test_okta_may_use_a_header_of_its_own() -> None:
    one = provider("okta", "value", header="X-Okta-Key")
    body = b'{"data":{"events":[{"uuid":"u-1","eventType":"user.created"}]}}'
    verdict = received(one, asked(body=body, given={"X-Okta-Key": "value", "X-Other": "x"}))
    assert verdict.kept_headers == (("x-other", "x"),)
    assert refusal(one, asked(body=body, given={"Authorization": "value"}))


def validation(**changes: str) -> dict[str, str]:
    return {"WebHook-Request-Origin": "events.example.com", **changes}


def test_cloudevents_are_allowed_as_they_ask() -> None:
    one = provider("cloudevents", "token")
    found = answered(one, asked("OPTIONS", given=validation(**{"WebHook-Request-Rate": "120"})))
    assert dict(found.headers) == {
        "Allow": "POST", "WebHook-Allowed-Origin": "events.example.com", "WebHook-Allowed-Rate": "120",
    }  # fmt: skip
    plain = answered(one, asked("OPTIONS", given=validation()))
    assert "WebHook-Allowed-Rate" not in dict(plain.headers)


@pytest.mark.parametrize(
    "given",
    [
        {}, {"Authorization": "Bearer token"}, validation(**{"WebHook-Request-Origin": "a b"}),
        validation(**{"WebHook-Request-Origin": "a\r\nSet-Cookie: a=b"}),
        validation(**{"WebHook-Request-Origin": "x" * 300}),
        validation(**{"WebHook-Request-Rate": "0"}), validation(**{"WebHook-Request-Rate": "1\r\nX: y"}),
        validation(**{"WebHook-Request-Rate": "-1"}),
    ],
)  # fmt: skip
def test_cloudevents_are_not_allowed_otherwise(given: dict[str, str]) -> None:
    assert refusal(provider("cloudevents", "token"), asked("OPTIONS", given=given))


def zoom(body: bytes, secret: str = "s") -> Request:
    signature = hmac.digest(secret.encode(), b"v0:%d:" % (NOW // 1000) + body, "sha256").hex()
    stamp = str(NOW // 1000)
    return asked(body=body, given={"x-zm-signature": f"v0={signature}", "x-zm-request-timestamp": stamp})


def test_zoom_is_answered_with_the_secret_that_it_used() -> None:
    one = provider("zoom", "new", "old")
    body = json.dumps({"event": "endpoint.url_validation", "payload": {"plainToken": SCRIPT}}).encode()
    for secret in ("new", "old"):
        found = answered(one, zoom(body, secret))
        wanted = hmac.digest(secret.encode(), SCRIPT.encode(), "sha256").hex()
        assert json.loads(found.body) == {"plainToken": SCRIPT, "encryptedToken": wanted}
        assert (found.content_type, found.headers) == ("application/json", (NOSNIFF,))
    assert refusal(one, zoom(body, "revoked"))
    assert refusal(one, asked(body=body))


@pytest.mark.parametrize(
    "body",
    [b'{"event":"endpoint.url_validation"}', b'{"event":"endpoint.url_validation","payload":{"plainToken":7}}',
     b'{"event":"meeting.started","payload":{"plainToken":"a","topic":"endpoint.url_validation"}}'],
)  # fmt: skip
def test_zoom_gets_no_answer_to_another_shape(body: bytes) -> None:
    assert received(provider("zoom", "s"), zoom(body))


def test_a_notification_of_twitch_is_no_handshake_by_its_unsigned_header() -> None:
    kind = {"Twitch-Eventsub-Message-Type": "webhook_callback_verification"}
    notified = posted(delivery("twitch", b'{"subscription":{"type":"channel.follow"},"event":{}}'))
    renamed = tuple((name, kind.get("Twitch-Eventsub-Message-Type", "") if name.endswith("message-type") else value)
                    for name, value in notified.headers)  # fmt: skip
    again = Request("acme", "", "POST", renamed, notified.body, NOW)
    assert received(example("twitch"), again).events[0].type == "channel.follow"
    challenge = delivery("twitch", json.dumps({"challenge": SCRIPT, "subscription": {}}).encode())
    assert received(example("twitch"), posted(challenge)), "it says that it is a notification"
    verification = Request("acme", "", "POST", headers({**challenge.headers, **{k.lower(): v for k, v in kind.items()}}),
                           challenge.body, NOW)  # fmt: skip
    found = answered(example("twitch"), verification)
    assert (found.body, found.content_type) == (SCRIPT.encode(), "text/plain; charset=utf-8")
    assert NOSNIFF in found.headers
