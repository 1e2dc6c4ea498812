"""What every provider does alike, and what each pack reads beyond its vectors."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from tests.unit.packs.support import (
    ID_IS_JOINED,
    NOW,
    PROOF_INSIDE,
    SECRET_IS_PUBLIC,
    SIGNED_INSIDE,
    SIGNS_AT_RANDOM,
    TYPE_IS_FIXED,
    VERIFYING,
    WITHOUT_ID,
    WITHOUT_TYPE,
    delivery,
    event,
    example,
    forged,
    posted,
    provider,
    received,
    refusal,
    request,
    secret_of,
)

from surehook.config import MIB, ProviderSettings, ServerSettings
from surehook.errors import ConfigurationError, InvalidRequest
from surehook.model import NewEvent
from surehook.packs import PACKS, Challenge, Draft, build_provider
from surehook.secrets import Secret
from surehook.states import Reason


def sent_event(pack: str, body: bytes, **extra: str) -> NewEvent:
    """The event that a signed delivery of this body gives."""
    return event(example(pack), posted(delivery(pack, body), **extra))


@pytest.mark.parametrize("pack", sorted(PACKS))
def test_a_pack_reads_what_it_signs(pack: str) -> None:
    known, one = PACKS[pack], example(pack)
    sent = delivery(pack, known.sample(external_id="e-1"), known.sample_type)
    verdict = received(one, posted(sent, **{"Cookie": "c", "Proxy-Authorization": "p"}))
    found = verdict.events[0]
    assert (found.type, found.dead) == ("acme" if pack in WITHOUT_TYPE else known.sample_type, None)
    joined = pack in ID_IS_JOINED and found.external_id.startswith("e-1:")
    assert found.weak or joined or found.external_id == "e-1"
    assert found.weak == (pack in WITHOUT_ID)
    assert not {"cookie", "proxy-authorization", "authorization"} & {name for name, _ in verdict.kept_headers}
    assert secret_of(pack) not in repr(verdict) or pack in SECRET_IS_PUBLIC
    again = one.sign(Draft(known.sample(external_id="e-1"), NOW, "e-1", known.sample_type))
    assert received(one, posted(again)).events[0].type == found.type
    assert sent == again or pack in SIGNS_AT_RANDOM


@pytest.mark.parametrize("pack", VERIFYING)
def test_a_pack_refuses_what_is_not_signed(pack: str) -> None:
    known, one = PACKS[pack], example(pack)
    body = known.sample()
    assert refusal(one, request(body))
    for sent in forged(pack, body, known.sample_type):
        assert refusal(one, posted(sent))


@pytest.mark.parametrize("pack", sorted(set(PACKS) - TYPE_IS_FIXED - WITHOUT_TYPE))
def test_a_pack_fits_its_sample_to_the_type(pack: str) -> None:
    sent = delivery(pack, PACKS[pack].sample("thing.done", external_id="e-2"), external_id="e-2")
    assert received(example(pack), posted(sent)).events[0].type == "thing.done"


def test_what_http_asks_a_provider_for() -> None:
    settings = ProviderSettings(secrets=("env:A",), response_status=202, response_body="ok")
    one = build_provider("github", settings, lambda reference: Secret("s", reference), ServerSettings())
    assert (one.name, one.pack, one.enabled, one.id_is_signed) == ("github", "github", True, False)
    assert (one.max_body, one.response) == (25 * MIB, (202, b"ok", None))
    assert one.docs_url == PACKS["github"].docs_url
    assert provider("stripe", "s").max_body == MIB
    assert provider("github", "s", max_body=10).max_body == 10
    large = ServerSettings(max_body=50 * MIB)
    assert build_provider("github", settings, lambda name: Secret("s", name), large).max_body == 50 * MIB


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("stirpe", {}, "there is no pack 'stirpe': set pack. Did you mean 'stripe'?"),
        ("acme", {"pack": "gihtub"}, "Did you mean 'github'?"),
        ("none", {}, 'write pack = "none"'),
        ("stripe", {"secrets": ()}, "none is given: set secrets"),
        ("stripe", {"header": "X-Sig"}, "pack 'stripe' does not know header"),
        ("github", {"tolerance": 5}, "pack 'github' does not know tolerance"),
        ("acme", {"pack": "token", "header": "X-A", "algorithm": "sha1"}, "does not know algorithm"),
        ("stripe", {"tolerance": 0}, "tolerance = 0 must be from 1 to 86400"),
        ("stripe", {"response_status": 404}, "response_status = 404 must be from 200 to 299"),
        ("stripe", {"max_body": 0}, "max_body = 0 must be"),
    ],
)
def test_settings_that_cannot_work_are_refused(name: str, settings: dict[str, Any], message: str) -> None:
    chosen = ProviderSettings(**{"secrets": ("env:A",), **settings})
    with pytest.raises(ConfigurationError) as caught:
        build_provider(name, chosen, lambda reference: Secret("s", reference), ServerSettings())
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"providers.{name}: ")


MALFORMED = [
    ("standard-webhooks", "whsec_not base64!"), ("standard-webhooks", "whsec_"), ("standard-webhooks", "whpk_QUJD"),
    ("standard-webhooks", "whsk_QUJD"), ("standard-webhooks", "whsec_caf\xe9"), ("standard-webhooks", "whsec_A"),
    ("stripe", "sk_live_abc"), ("basic", "password-alone"), ("airtable", "not base64!"), ("adyen-platform", "not hex"),
]  # fmt: skip


@pytest.mark.parametrize(("pack", "value"), MALFORMED)
def test_a_malformed_secret_is_named_and_not_shown(pack: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match="env:S0") as caught:
        provider(pack, value)
    hidden = value.partition("_")[2] or value
    assert hidden == "whsec_" or hidden not in str(caught.value)


def test_a_disabled_provider_needs_no_secret_and_takes_nothing() -> None:
    def missing(reference: str) -> Secret:
        raise AssertionError(f"{reference} was read")

    settings = ProviderSettings(enabled=False, secrets=("env:GONE",))
    one = build_provider("stripe", settings, missing, ServerSettings())
    assert "disabled" in refusal(one, request())
    with pytest.raises(InvalidRequest, match="disabled"):
        one.sign(Draft(b"{}", NOW, "e", "a"))


@pytest.mark.parametrize(
    ("token", "external_id"),
    [
        ("1", "1"), ("1.0", "1.0"), ("1e0", "1e0"), ("-0", "-0"), ('"x"', "x"), ('"\\u00e9"', "é"), ('" x "', " x "),
        ("12345678901234567890123", "12345678901234567890123"), ("12345678901234567890124", "12345678901234567890124"),
        ('"K"', "K"), ('"\\u212a"', "\u212a"), ('"e\\u0301"', "e\u0301"), ('"a:b"', "a:b"),
        ("null", None), ('""', None), ("[1]", None), ('{"a":1}', None), ("true", None),
    ],
)  # fmt: skip
def test_ids_are_taken_as_they_are_written(token: str, external_id: str | None) -> None:
    body = f'{{"id": {token} ,"type":"a"}}'.encode()
    weak = hashlib.sha256(body).hexdigest()
    for found in (sent_event("stripe", body), event(example("none"), request(body))):
        assert (found.external_id, found.weak) == (external_id or weak, external_id is None)
        assert (found.dead, found.type) == (None, "a")


@pytest.mark.parametrize("text", ["x" * 256, "é" * 128, "a\\u0000b", "sha256:" + "0" * 64, "x" * 100_000])
def test_an_id_that_cannot_be_kept_becomes_its_digest(text: str) -> None:
    body = f'{{"id":"{text}","type":"a"}}'.encode()
    plain = msgspec.json.decode(body)["id"].encode()
    found = sent_event("stripe", body)
    assert found.external_id == "sha256:" + hashlib.sha256(plain).hexdigest()
    assert not found.weak


def test_an_id_of_255_bytes_is_kept() -> None:
    assert sent_event("stripe", b'{"id":"' + b"x" * 255 + b'"}').external_id == "x" * 255


AMBIGUOUS = [
    b'{"id":"a","id":"b"}', b'{"id":"a","id":"a"}', b'{"id":"a","\\u0069d":"b"}', b'{"\\u0069\\u0064":"a","id":"b"}',
    b'{"id":"a","x":{"id":"b"},"id" :null}',
]  # fmt: skip


@pytest.mark.parametrize("body", AMBIGUOUS)
def test_a_repeated_id_is_ambiguous_and_dead(body: bytes) -> None:
    for found in (sent_event("stripe", body), event(example("none"), request(body))):
        assert (found.dead, found.weak) == (Reason.UNPARSABLE, True)
        assert found.error is not None
        assert "/id more than once" in found.error
    slack = sent_event("slack", body.replace(b'"id"', b'"event_id"').replace(b"\\u0069d", b"event_\\u0069d"))
    assert slack.dead is Reason.UNPARSABLE or b"\\u0064" in body


def test_a_repeated_key_elsewhere_is_none_of_our_business() -> None:
    body = b'{"id":"a","data":{"object":{"id":"b","id":"c"}},"list":[{"id":1},{"id":2}],"x":"\\"id\\"","y":1,"y":2}'
    found = sent_event("stripe", body)
    assert (found.external_id, found.dead) == ("a", None)


def test_a_repeated_key_on_the_way_to_the_id_is_ambiguous() -> None:
    one = provider("none", id="body:/data/id")
    assert event(one, request(b'{"data":{"id":"a"},"data":{"id":"b"}}')).dead is Reason.UNPARSABLE
    assert event(one, request(b'{"data":{"id":"a"},"id":"b","other":{"id":1}}')).external_id == "a"


UNREADABLE = [
    b"", b"{", b"[1", b'"x', b"{}x", b'{"id":NaN}', b'{"a":Infinity}', b"\xef\xbb\xbf{}", b'{"x":"\xff"}',
    b'{"x":"\xed\xa0\x80"}', b'{"id":"\\ud800"}', "{}".encode("utf-16"), b"[" * 100_000, b'{"a":' * 100_000,
    b"\0", b"<xml/>", b'{"id":01}', b'{"a":"\xc0\x80"}',
]  # fmt: skip


@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: repr(body[:20]))
@pytest.mark.parametrize("pack", sorted(set(PACKS) - SIGNED_INSIDE - PROOF_INSIDE))
def test_an_authentic_body_that_cannot_be_read_is_stored_dead(pack: str, body: bytes) -> None:
    found = sent_event(pack, body)
    assert found.dead is Reason.UNPARSABLE
    assert found.error is not None
    assert found.error.startswith("the body cannot be read: ")
    if (
        pack != "openai" and "e-1" in delivery(pack, body).headers.values()
    ):  # its header names the delivery alone
        assert (found.external_id, found.weak) == ("e-1", False)
    elif PACKS[pack].bodies_repeat:
        assert (found.external_id.startswith("delivery:"), found.weak) == (True, True)
    else:
        assert (found.external_id, found.weak) == (hashlib.sha256(body).hexdigest(), True)


@pytest.mark.parametrize("body", UNREADABLE, ids=lambda body: repr(body[:20]))
@pytest.mark.parametrize("pack", sorted(PROOF_INSIDE))
def test_a_body_without_its_proof_inside_cannot_be_signed(pack: str, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        sent_event(pack, body)


@pytest.mark.parametrize("body", [b"[1]", b'"text"', b"7", b"null"])
def test_json_of_another_shape_is_dead_where_the_sender_sends_objects(body: bytes) -> None:
    for pack in ("stripe", "github", "shopify", "slack"):
        assert sent_event(pack, body).dead is Reason.UNPARSABLE
    found = sent_event("standard-webhooks", body)
    assert (found.dead, found.external_id) == (None, "e-1")


@pytest.mark.parametrize("data", [b'"x"', b"[]", b"null", b'{"object":7}', b'{"object":{"id":[]}}'])
def test_a_part_of_another_shape_costs_only_that_part(data: bytes) -> None:
    found = sent_event("stripe", b'{"id":"evt_1","type":"a","data":' + data + b"}")
    assert (found.external_id, found.subject, found.dead) == ("evt_1", None, None)


def test_a_thin_stripe_event_is_read_too() -> None:
    body = (
        b'{"id":"evt_test_1","object":"v2.core.event","type":"v1.billing.meter.error_report_triggered",'
        b'"created":"2026-09-21T14:13:20.123Z","related_object":{"id":"mtr_1","type":"billing.meter"}}'
    )
    found = sent_event("stripe", body)
    assert (found.external_id, found.subject, found.occurred_at) == ("evt_test_1", "mtr_1", NOW + 123)


def test_github_reads_headers_and_body() -> None:
    found = sent_event(
        "github", b'{"zen":"Keep it logically awesome.","repository":{"full_name":"octo/repo"}}'
    )
    assert (found.type, found.subject) == ("thing", "octo/repo")
    assert found.dead is None


def test_github_forms_hold_the_json_in_a_field() -> None:
    kind = {"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    found = sent_event("github", b"payload=%7B%22action%22%3A%22opened%22%7D", **kind)
    assert (found.type, found.dead) == ("thing.opened", None)
    for body in (
        b"",
        b"x=1",
        b"payload=%FF",
        b"payload={}&payload={}",
        b"payload=",
        b"&".join([b"a=1"] * 2000),
    ):
        found = sent_event("github", body, **kind)
        assert (found.external_id, found.type, found.dead) == ("e-1", "thing", Reason.UNPARSABLE)


def test_without_its_headers_a_shopify_event_is_weak() -> None:
    one = provider("shopify", "s3cret")
    sent = PACKS["shopify"].sign("s3cret", b"{}", NOW, external_id="e-1", type="orders/create").headers
    found = event(
        one, request(b"{}", {"x-shopify-hmac-sha256": sent["x-shopify-hmac-sha256"]}, topic="orders")
    )
    assert (found.external_id, found.weak, found.type) == (hashlib.sha256(b"{}").hexdigest(), True, "orders")


def test_shopify_families_are_not_mixed_up() -> None:
    sent = PACKS["shopify"].sign("s3cret", b"{}", NOW, external_id="e-1", type="orders/create").headers
    assert refusal(provider("shopify-events", "s3cret"), request(b"{}", sent))


def test_slack_interactions_say_their_type_in_their_payload() -> None:
    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert (
        sent_event("slack", b"payload=%7B%22type%22%3A%22block_actions%22%7D", **kind).type == "block_actions"
    )
    assert sent_event("slack", b"command=%2Fweather&text=", **kind).type == "/weather"
    assert sent_event("slack", b"payload=%7B", **kind).dead is Reason.UNPARSABLE
    assert sent_event("slack", b'{"type":"app_rate_limited"}').type == "app_rate_limited"


def test_a_slack_challenge_without_a_text_is_an_event_like_others() -> None:
    for body in (b'{"type":"url_verification"}', b'{"type":"url_verification","challenge":{}}'):
        assert sent_event("slack", body).type == "url_verification"
    sent = delivery("slack", b'{"type":"url_verification","challenge":"<b>"}')
    verdict = example("slack").receive(posted(sent))
    assert verdict == Challenge(200, b"<b>", kind="url_verification")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a\0b", "a\ufffdb"),
        ("a\ud800b", "a?b"),
        ("x" * 255, "x" * 255),
        ("x" * 256, "x" * 254 + "…"),
        ("a\nb", "a\nb"),
    ],
)
def test_a_type_is_text_that_every_database_takes(text: str, kept: str) -> None:
    one = provider("none", type="header:X-Type", subject="header:X-Type")
    found = event(one, request(b"", {"X-Type": text}))
    assert (found.type, found.subject) == (kept, kept)


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("1790000000", NOW), ("1790000000.25", NOW + 250), ("1790000000123", NOW + 123), ("0", 0),
        ("2026-09-21T14:13:20Z", NOW), ("2026-09-21T16:13:20+02:00", NOW), ("2026-09-21T14:13:20", NOW),
        ("2026-09-21T14:13:20.1234567Z", NOW + 123), ("nan", None), ("1e9", None), ("-1", None), ("9999-99-99", None),
        ("0001-01-01T00:00:00+23:59", -62135683140000), ("9" * 4000, None), ("", None), ("soon", None),
    ],
)  # fmt: skip
def test_times_are_read_in_the_forms_that_senders_use(written: str, moment: int | None) -> None:
    assert (
        event(provider("none", occurred_at="header:X-At"), request(b"", {"X-At": written})).occurred_at
        == moment
    )


def test_a_pack_of_ones_own_is_named_by_where_it_is() -> None:
    """The one of the documentation, as it is written there."""
    page = (Path(__file__).parents[3] / "docs" / "packs.md").read_text(encoding="utf-8")
    source = page.partition("```python\n")[2].partition("```")[0]
    module = ModuleType("acme_pack")
    exec(compile(source, "docs/packs.md", "exec"), module.__dict__)
    sys.modules["acme_pack"] = module
    try:
        one = provider("acme_pack:Acme", "s3cret")
        sent = one.sign(Draft(one.sample(external_id="d-9"), NOW, "d-9", "order.created"))
        found = event(one, posted(sent))
        assert (found.external_id, found.type, found.subject) == ("d-9", "order.created", "A-4711")
        assert refusal(provider("acme_pack:Acme", "other"), posted(sent))
    finally:
        del sys.modules["acme_pack"]


@pytest.mark.parametrize(
    "named", ["no_such_module:Acme", "json:Acme", "json:loads", "pathlib:Path", ":", "json:"]
)
def test_what_is_no_pack_is_refused(named: str) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be imported|is no pack"):
        provider(named, "s")
