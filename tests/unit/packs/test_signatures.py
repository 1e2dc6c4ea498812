"""The scheme engine, against independent implementations and against people who wish it ill."""

from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from standardwebhooks.webhooks import hmac_data
from tests.unit.packs.support import NOW, headers, provider, received, refusal, request

from surehook.clock import Millis
from surehook.errors import ConfigurationError, InvalidRequest
from surehook.packs import PACKS
from surehook.packs.schemes.keys import HmacKey
from surehook.packs.schemes.layout import Layout, SignatureScheme

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"id":"evt_1","type":"invoice.paid"}'
STAMP = NOW // 1000


def stripe(secret: str, stamp: object = STAMP, body: bytes = BODY) -> str:
    """A v1 item, made without the engine."""
    return hmac.new(secret.encode(), f"{stamp}.".encode() + body, "sha256").hexdigest()


@given(
    key=st.binary(max_size=300),
    parts=st.lists(st.binary(max_size=100), max_size=4),
    algorithm=st.sampled_from(["sha1", "sha256", "sha512"]),
)
def test_precomputed_pads_give_what_the_standard_library_gives(
    key: bytes, parts: list[bytes], algorithm: str
) -> None:
    wanted = hmac.digest(key, b"".join(parts), algorithm)
    assert HmacKey("", key, algorithm=algorithm).sign(parts) == wanted.hex().encode()
    assert HmacKey("", key, algorithm=algorithm, encoding="base64").sign(parts) == base64.b64encode(wanted)


@given(body=st.text(max_size=200), external_id=st.from_regex(r"msg_[A-Za-z0-9]{1,40}", fullmatch=True))
def test_the_official_library_and_the_pack_sign_alike(body: str, external_id: str) -> None:
    pack, data = PACKS["standard-webhooks"], body.encode()
    ours = pack.sign(WHSEC, data, NOW, external_id=external_id, type="a").headers
    theirs = Webhook(WHSEC).sign(external_id, datetime.fromtimestamp(STAMP, UTC), body)
    assert ours["webhook-signature"] == theirs
    verdict = received(
        provider("standard-webhooks", WHSEC), request(data, {**ours, "webhook-signature": theirs})
    )
    assert verdict.events[0].external_id == external_id


def test_the_official_library_verifies_what_the_pack_signs() -> None:
    now = Millis(int(datetime.now(UTC).timestamp() * 1000))  # noqa: TID251 - the library reads the clock by itself
    sent = PACKS["standard-webhooks"].sign(WHSEC, BODY, now, external_id="msg_1", type="a").headers
    assert Webhook(WHSEC).verify(BODY, sent) == {"id": "evt_1", "type": "invoice.paid"}


@given(body=st.binary(max_size=200), secret=st.text("abcXYZ012_", min_size=1, max_size=100))
def test_stripe_signs_what_the_official_library_computes(body: bytes, secret: str) -> None:
    item = (
        PACKS["stripe"]
        .sign("whsec_" + secret, body, NOW, external_id="", type="a")
        .headers["stripe-signature"]
    )
    oracle = hmac_data(f"whsec_{secret}".encode(), f"{STAMP}.".encode() + body).hex()
    assert item == f"t={STAMP},v1={oracle}"


def key_pair() -> tuple[str, str]:
    private = Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes_raw()
    seed = private.private_bytes_raw()
    return "whsk_" + base64.b64encode(seed + public).decode(), "whpk_" + base64.b64encode(public).decode()


def test_ed25519_signs_with_the_private_and_verifies_with_the_public_key() -> None:
    private, public = key_pair()
    pack = PACKS["standard-webhooks"]
    sent = pack.sign(private, BODY, NOW, external_id="msg_1", type="a").headers
    assert sent["webhook-signature"].startswith("v1a,")
    assert (
        received(provider("standard-webhooks", key_pair()[1], public), request(BODY, sent)).secret == "env:S1"
    )
    assert refusal(provider("standard-webhooks", public), request(BODY + b" ", sent))
    with pytest.raises(InvalidRequest, match="private key"):
        pack.sign(public, BODY, NOW, external_id="msg_1", type="a")


def test_an_ed25519_signature_has_one_spelling() -> None:
    private, public = key_pair()
    one = provider("standard-webhooks", public)
    sent = PACKS["standard-webhooks"].sign(private, BODY, NOW, external_id="msg_1", type="a").headers
    good = sent["webhook-signature"]
    assert received(one, request(BODY, sent))
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    altered = (
        good[:-3] + alphabet[alphabet.index(good[-3]) ^ 1] + "=="
    )  # trailing bits that decode to nothing
    assert base64.b64decode(altered[4:]) == base64.b64decode(good[4:])
    for other in (
        altered,
        good[:-2],
        good + "=",
        good[:20] + "!" + good[20:],
        good[:20] + "\xe9" + good[20:],
    ):
        assert refusal(one, request(BODY, {**sent, "webhook-signature": other}))


BAD_TIMES = ["nan", "inf", "1e9", "1_790_000_000", "+1790000000", "-1", " ", "1790000000.0", "1790000000000",
             "1" * 13, "٢٩٠٠٠٠٠٠", "0x6AB1", "1790000000\n", "\uff11\uff17", "9" * 5000]  # fmt: skip


@pytest.mark.parametrize("stamp", BAD_TIMES)
def test_a_time_is_plain_digits_or_nothing(stamp: str) -> None:
    one = provider("stripe", "s3cret")
    signed = f"t={stamp},v1={stripe('s3cret', stamp)}"
    assert "timestamp" in refusal(one, request(BODY, {"stripe-signature": signed}))
    values = {"x-slack-request-timestamp": stamp, "x-slack-signature": "v0=" + "0" * 64}
    assert "timestamp" in refusal(provider("slack", "s3cret"), request(BODY, values))


@pytest.mark.parametrize(("offset", "tolerance", "good"), [
    (300, None, True), (-300, None, True), (301, None, False), (-301, None, False),
    (10, 10, True), (-10, 10, True), (11, 10, False), (-11, 10, False), (3600, 3600, True),
])  # fmt: skip
def test_a_time_may_differ_by_the_tolerance_both_ways(offset: int, tolerance: int | None, good: bool) -> None:
    for pack in ("stripe", "slack", "standard-webhooks"):
        secret = WHSEC
        sent = (
            PACKS[pack].sign(secret, BODY, Millis(NOW - offset * 1000), external_id="msg_1", type="a").headers
        )
        one = provider(pack, secret, tolerance=tolerance)
        verdict = one.receive(request(BODY, sent))
        assert (type(verdict).__name__ == "Received") is good
        if not good:
            assert f"more than {tolerance or 300} s away" in refusal(one, request(BODY, sent))


def test_a_second_time_in_the_header_is_refused() -> None:
    good = f"t={STAMP},v1={stripe('s3cret')}"
    one = provider("stripe", "s3cret")
    assert received(one, request(BODY, {"stripe-signature": good}))
    assert "exactly once" in refusal(one, request(BODY, {"stripe-signature": f"{good},t={STAMP}"}))


@pytest.mark.parametrize(
    "pack", ["stripe", "github", "shopify", "shopify-events", "slack", "standard-webhooks"]
)
def test_every_repeated_header_that_counts_is_refused(pack: str) -> None:
    secret = WHSEC
    sent = PACKS[pack].sign(secret, BODY, NOW, external_id="msg_1", type="a").headers
    one = provider(pack, secret)
    assert received(one, request(BODY, sent))
    unimportant = {"content-type", "x-shopify-shop-domain", "shopify-shop-domain", "shopify-action"}
    for name in set(sent) - unimportant:
        twice = (*headers(sent), (name, sent[name]))
        assert refusal(one, request(BODY, twice)) == f"the header {name} is repeated"


def test_ten_signatures_are_looked_at_and_no_more() -> None:
    one, good, bad = provider("stripe", "s3cret"), f"v1={stripe('s3cret')}", "v1=" + "0" * 64
    ten = ",".join([f"t={STAMP}", *[bad] * 9, good])
    assert received(one, request(BODY, {"stripe-signature": ten}))
    assert "more than 10" in refusal(one, request(BODY, {"stripe-signature": f"{ten},{bad}"}))
    others = ",".join([f"t={STAMP}", *["v0=" + "0" * 64] * 900, good])
    assert received(one, request(BODY, {"stripe-signature": others}))


def test_every_live_secret_verifies_and_is_named_and_no_other_does() -> None:
    one = provider("stripe", "new", "old", "older")
    for secret, reference in (("new", "env:S0"), ("old", "env:S1"), ("older", "env:S2")):
        sent = {"stripe-signature": f"t={STAMP},v1={stripe(secret)}"}
        assert received(one, request(BODY, sent)).secret == reference
    assert refusal(one, request(BODY, {"stripe-signature": f"t={STAMP},v1={stripe('revoked')}"}))


@pytest.mark.parametrize("external_id", ["a.b", "a b", "a\nb", "caf\xe9", "\x7f", "x" * 256, "a\0b"])
def test_a_signed_id_that_could_shift_the_signed_text_is_refused(external_id: str) -> None:
    key = base64.b64decode(WHSEC[6:])
    signed = f"{external_id}.{STAMP}.".encode() + BODY
    signature = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    sent = {"webhook-id": external_id, "webhook-timestamp": str(STAMP), "webhook-signature": signature}
    assert "is no id" in refusal(provider("standard-webhooks", WHSEC), request(BODY, sent))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"signed": "{timestamp}"}, "must hold {body} exactly once"),
        ({"signed": "{body}{body}"}, "must hold {body} exactly once"),
        ({"signed": "{bdy}"}, "Did you mean 'body'"),
        ({"signed": "{}"}, "signed holds {}"),
        ({"signed": "{timestamp}.{body}"}, "belong together"),
        ({"timestamp_header": "x-time"}, "belong together"),
        ({"signed": "{id}.{body}"}, "which header carries it"),
    ],
)
def test_a_layout_that_protects_nothing_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        SignatureScheme(Layout(**{"header": "x-signature", **changes}), [HmacKey("", b"k")])
    assert message in str(caught.value)
