"""What the packs whose senders publish their keys do beyond their vectors."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from tests.unit.packs.key_pairs import OTHER_RSA_PEM, RSA_KEY, RSA_PEM, p256, p256_pem
from tests.unit.packs.support import (
    NOW,
    PINNED,
    delivery,
    event,
    example,
    example_settings,
    posted,
    provider,
    received,
    refusal,
    request,
    secret_of,
)

from surehook.clock import Millis
from surehook.errors import ConfigurationError, InvalidRequest
from surehook.packs import (
    PACKS,
    Delivery,
    Draft,
    Fetched,
    KeySource,
    KeysUnavailable,
    KeysWanted,
    Provider,
    Received,
    Request,
    Verdict,
)
from surehook.packs.schemes.jwt import write_compact
from surehook.packs.schemes.published import es256_keys, pinned_pairs, rsa_keys
from surehook.secrets import Secret

DAY = 86_400_000
P256 = p256(1)


def certificate(name: str = "sns.amazonaws.com", begin: int = -DAY, end: int = DAY) -> str:
    """Of the key that ``PINNED`` signs with; valid around NOW."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(RSA_KEY.public_key())
        .serial_number(7)
        .not_valid_before(moment(begin))
        .not_valid_after(moment(end))
        .sign(RSA_KEY, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM).decode()


def moment(offset: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=NOW + offset)


class Pages:
    """What a sender publishes; a page that is not there cannot be fetched."""

    def __init__(self, page: str | Mapping[str, Any]) -> None:
        self.page = page if isinstance(page, str) else json.dumps(page)
        self.asked: list[KeySource] = []

    async def fetch(self, source: KeySource) -> Fetched:
        self.asked.append(source)
        return Fetched(self.page.encode())

    def provider(self, pack: str, **settings: Any) -> Provider:
        return provider(pack, secret_of(pack), fetch=self.fetch, **{**example_settings(pack), **settings})


def judged(one: Provider, asked: Request) -> Verdict:
    """The verdict after everything is fetched that it asks for."""
    verdict = one.receive(asked)
    while isinstance(verdict, KeysWanted):
        asyncio.run(one.fetch_keys(verdict, asked.now))
        verdict = one.receive(asked)
    return verdict


def sample(pack: str) -> Delivery:
    return delivery(pack, PACKS[pack].sample(external_id="e-1"), PACKS[pack].sample_type)


def jwk(
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, private: bool = False, **more: Any
) -> dict[str, Any]:
    if isinstance(key, rsa.RSAPrivateKey):
        own, shown = key.private_numbers(), key.public_key().public_numbers()
        values = {"n": shown.n, "e": shown.e}
        if private:
            values |= {"d": own.d, "p": own.p, "q": own.q, "dp": own.dmp1, "dq": own.dmq1, "qi": own.iqmp}
        return {"kty": "RSA", **{name: encoded(value) for name, value in values.items()}, **more}
    point = key.public_key().public_numbers()
    values = {"x": point.x, "y": point.y}
    if private:
        values["d"] = key.private_numbers().private_value
    return {"kty": "EC", "crv": "P-256", **{name: encoded(each, 32) for name, each in values.items()}, **more}


def encoded(number: int, size: int = 0) -> str:
    data = number.to_bytes(size or (number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@pytest.mark.parametrize("pack", ["aws-sns", "paypal"])
@pytest.mark.parametrize(
    ("begin", "end", "good"), [(-DAY, DAY, True), (-DAY, -1000, False), (1000, DAY, False)]
)
def test_a_certificate_verifies_as_long_as_it_is_valid(pack: str, begin: int, end: int, good: bool) -> None:
    pages = Pages(certificate("messageverificationcerts.paypal.com", begin, end))
    verdict = judged(pages.provider(pack), posted(sample(pack)))
    assert isinstance(verdict, Received) is good
    assert good or "not valid now" in str(verdict)


@pytest.mark.parametrize("name", ["messageverificationcerts.paypal.com.evil.example", "evilpaypal.com", "x"])
def test_a_certificate_of_somebody_else_is_not_of_paypal(name: str) -> None:
    verdict = judged(Pages(certificate(name)).provider("paypal"), posted(sample("paypal")))
    assert "not of PayPal" in str(verdict)


@pytest.mark.parametrize("page", ["", "no certificate", OTHER_RSA_PEM, "{}"])
@pytest.mark.parametrize("pack", ["aws-sns", "paypal"])
def test_a_page_that_holds_no_certificate_is_no_refusal(pack: str, page: str) -> None:
    with pytest.raises(KeysUnavailable):
        judged(Pages(page).provider(pack), posted(sample(pack)))


FOREIGN = [
    "http://sns.eu-west-1.amazonaws.com/a.pem", "https://sns.eu-west-1.amazonaws.com.evil.example/a.pem",
    "https://sns.s3-us-west-2.amazonaws.com/a.pem", "https://sns.s3.amazonaws.com/a.pem",
    "https://user@sns.eu-west-1.amazonaws.com/a.pem", "https://sns.eu-west-1.amazonaws.com:444/a.pem",
    "https://sns.eu-west-1.amazonaws.com/a.pem?x", "https://sns.eu-west-1.amazonaws.com/a/../b.pem",
    "https://sns.eu-west-1.amazonaws.com/a.pem\n", "https://evil.example/sns.eu-west-1.amazonaws.com/a.pem",
    "https://sns.eu-west-1.amazonaws.com@evil.example/a.pem", "https://sns.eu-west-1.amazonaws.com/a.txt", "",
]  # fmt: skip


@pytest.mark.parametrize("url", FOREIGN)
def test_nothing_is_fetched_from_foreign_hosts(url: str) -> None:
    pages = Pages(certificate())
    message = json.loads(sample("aws-sns").body) | {"SigningCertURL": url}
    assert "SigningCertURL" in refusal(pages.provider("aws-sns"), request(json.dumps(message).encode()))
    sent = sample("paypal")
    sent.headers["paypal-cert-url"] = url or "x"
    assert "paypal-cert-url" in refusal(pages.provider("paypal"), posted(sent))
    assert not pages.asked


def confirmation(url: str | None = None) -> Delivery:
    topic = secret_of("aws-sns")
    good = f"https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={topic}&Token=t"
    body = {"Type": "SubscriptionConfirmation", "Message": "m", "Token": "t", "SubscribeURL": url or good}
    return delivery("aws-sns", json.dumps(body).encode())


def test_a_subscription_is_confirmed_once_it_is_verified_unless_that_is_switched_off() -> None:
    pages = Pages(certificate())
    asked = posted(confirmation())
    verdict = judged(pages.provider("aws-sns"), asked)
    assert isinstance(verdict, Received)
    assert verdict.events[0].type == "SubscriptionConfirmation"
    assert [source.url[-7:] for source in pages.asked] == ["000.pem", "Token=t"]
    assert "Token" not in pages.asked[1].place
    pages.asked.clear()
    assert isinstance(judged(pages.provider("aws-sns", confirm=False), asked), Received)
    assert len(pages.asked) == 1
    forged = json.loads(asked.body) | {"Message": "other"}
    pages.asked.clear()
    assert "does not fit" in str(judged(pages.provider("aws-sns"), request(json.dumps(forged).encode())))
    assert len(pages.asked) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:123456789012:orders",
        "https://sns.eu-west-1.amazonaws.com/?Action=Publish&TopicArn=arn:aws:sns:eu-west-1:123456789012:orders",
        "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:1:a",
        "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
    ],
)
def test_an_address_that_confirms_something_else_is_not_fetched(url: str) -> None:
    assert "confirms no subscription" in refusal(example("aws-sns"), posted(confirmation(url)))


def test_any_text_becomes_a_notification_and_an_envelope_stays_one() -> None:
    for body, text in ((b"plain", "plain"), (b'{"a":1}', '{"a":1}'), (b'{"Message":"m","Type":"s"}', "m")):
        sent = delivery("aws-sns", body)
        assert json.loads(sent.body)["Message"] == text
        found = event(example("aws-sns"), posted(sent))
        assert (found.external_id, found.type, found.subject) == ("e-1", "Notification", secret_of("aws-sns"))
    goodbye = delivery("aws-sns", b'{"Type":"UnsubscribeConfirmation","Message":"m","Token":"t"}')
    assert event(example("aws-sns"), posted(goodbye)).type == "UnsubscribeConfirmation"


@pytest.mark.parametrize(
    "change",
    [
        {"Message": 7},
        {"Subject": {}},
        {"Type": "Other"},
        {"Type": None},
        {"TopicArn": ["a"]},
        {"Signature": None},
    ],
)
def test_an_envelope_of_another_shape_is_refused(change: dict[str, Any]) -> None:
    message = json.loads(sample("aws-sns").body) | change
    assert refusal(example("aws-sns"), request(json.dumps(message).encode()))
    message = json.loads(sample("aws-sns").body) | {"Other": 7, "UnsubscribeURL": None}
    assert received(example("aws-sns"), request(json.dumps(message).encode()))


def test_paypal_signs_the_webhook_s_id() -> None:
    assert "none of the webhook ids" in refusal(
        provider("paypal", "other", pinned=PINNED["paypal"]), posted(sample("paypal"))
    )
    two = provider("paypal", "other", secret_of("paypal"), pinned=PINNED["paypal"])
    assert received(two, posted(sample("paypal"))).secret == "env:S1"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("paypal-transmission-id", "a|b"),
        ("paypal-transmission-time", "yesterday"),
        ("paypal-auth-algo", "none"),
    ],
)
def test_what_paypal_says_beside_the_body_is_read_strictly(name: str, value: str) -> None:
    sent = sample("paypal")
    sent.headers[name] = value
    assert refusal(example("paypal"), posted(sent))


TOKEN = {
    "aud": secret_of("google-pubsub"), "email": "push@project.iam.gserviceaccount.com", "email_verified": True,
    "exp": NOW // 1000 + 60, "iat": NOW // 1000, "iss": "https://accounts.google.com",
}  # fmt: skip


def pushed(claims: Mapping[str, Any]) -> Request:
    [key] = rsa_keys(pinned_pairs([Secret(RSA_PEM, "env:KEYS")]))
    return request(b"{}", {"authorization": f"Bearer {write_compact(claims, 'RS256', key)}"})


def test_a_google_token_is_for_one_audience_and_from_one_account() -> None:
    one = example("google-pubsub")
    for claims in (TOKEN, TOKEN | {"iss": "accounts.google.com"}, TOKEN | {"aud": ["x", TOKEN["aud"]]}):
        assert received(one, pushed(claims)).secret == "env:S0"
    for change in (
        {"aud": "other"}, {"aud": None}, {"email": "x@y.iam.gserviceaccount.com"}, {"email": None},
        {"email_verified": "true"}, {"email_verified": None}, {"iss": "https://accounts.google.com.evil.example"},
        {"exp": NOW // 1000 - 61}, {"exp": None}, {"iat": NOW // 1000 + 61}, {"nbf": NOW // 1000 + 61},
    ):  # fmt: skip
        assert refusal(one, pushed(TOKEN | change))


def test_a_google_token_of_an_unknown_account_cannot_be_allowed() -> None:
    with pytest.raises(ConfigurationError, match="email is needed"):
        provider("google-pubsub", "https://hooks.example.com/webhooks/google-pubsub")


def bearing(kid: str) -> Request:
    """A request whose token names the key."""
    asked = sample("google-pubsub")
    _, claims, signature = asked.headers["authorization"].split(".")
    header = base64.urlsafe_b64encode(json.dumps({"alg": "RS256", "kid": kid}).encode()).rstrip(b"=").decode()
    return request(asked.body, {"authorization": f"Bearer {header}.{claims}.{signature}"})


def test_a_key_that_is_not_in_the_set_is_looked_for_again_but_once_a_minute() -> None:
    pages = Pages({"keys": [jwk(RSA_KEY, kid="old")]})
    one = pages.provider("google-pubsub")
    for kid in ("new", "newer", "old"):
        judged(one, bearing(kid))
    assert len(pages.asked) == 1
    pages.page = json.dumps({"keys": [jwk(RSA_KEY, kid="new"), {"kty": "OKP", "kid": "x"}]})
    later = bearing("new")
    verdict = judged(
        one, Request(later.provider, "", "POST", later.headers, later.body, Millis(NOW + 60_001))
    )
    assert "no live secret signed" in str(verdict)  # the key was found, and its header was not signed
    assert len(pages.asked) == 2


def answered(**more: Any) -> dict[str, Any]:
    return {"key": jwk(P256, kid="k-1", **more), "request_id": "r"}


def plaid(kid: str = "k-1", **claims: Any) -> Request:
    body = PACKS["plaid"].sample()
    [key] = es256_keys(pinned_pairs([Secret(p256_pem(1), "env:KEYS")]))
    digest = "".join(f"{byte:02x}" for byte in hashes_of(body))
    header = {"alg": "ES256", "kid": kid, "typ": "JWT"}
    payload = {"iat": NOW // 1000, "request_body_sha256": digest, **claims}
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, payload)]
    made = base64.b64decode(key.sign([b".".join(parts)]))
    token = b".".join([*parts, base64.urlsafe_b64encode(made).rstrip(b"=")]).decode()
    return request(body, {"plaid-verification": token})


def hashes_of(body: bytes) -> bytes:
    digest = hashes.Hash(hashes.SHA256())
    digest.update(body)
    return digest.finalize()


def test_plaid_is_asked_for_the_key_by_its_id_and_with_who_asks() -> None:
    pages = Pages(answered())
    one = pages.provider("plaid", environment="sandbox")
    assert isinstance(judged(one, plaid()), Received)
    [source] = pages.asked
    assert source.url == "https://sandbox.plaid.com/webhook_verification_key/get"
    assert source.post is not None
    assert json.loads(source.post.reveal()) == {
        "client_id": "5b0000000000000000000000", "secret": secret_of("plaid"), "key_id": "k-1"
    }  # fmt: skip
    assert secret_of("plaid") not in repr(source)
    assert isinstance(judged(one, plaid()), Received)
    assert len(pages.asked) == 1


@pytest.mark.parametrize(
    ("page", "why"),
    [
        ({"error_code": "INVALID_WEBHOOK_VERIFICATION_KEY_ID"}, "no key of this id"),
        (answered(expired_at=NOW // 1000), "retired"),
        ({"key": jwk(p256(2), kid="k-1")}, "no live secret"),
    ],
)  # fmt: skip
def test_plaid_says_that_a_key_is_none_of_theirs(page: dict[str, Any], why: str) -> None:
    assert why in str(judged(Pages(page).provider("plaid"), plaid()))


@pytest.mark.parametrize(
    "page",
    [
        {"error_code": "INVALID_API_KEYS"},
        {},
        {"key": jwk(P256, kid="k-2")},
        {"key": {"kty": "RSA", "kid": "k-1"}},
        "",
    ],
)
def test_what_plaid_answers_otherwise_is_our_trouble(page: Any) -> None:
    with pytest.raises(KeysUnavailable):
        judged(Pages(page).provider("plaid"), plaid())


@pytest.mark.parametrize(
    "claims",
    [
        {"iat": NOW // 1000 - 301}, {"iat": NOW // 1000 + 301}, {"iat": None}, {"iat": True}, {"iat": str(NOW // 1000)},
        {"request_body_sha256": "0" * 64}, {"request_body_sha256": None}, {"request_body_sha256": "\xe9"},
    ],
)  # fmt: skip
def test_plaid_signs_when_and_what(claims: dict[str, Any]) -> None:
    one = Pages(answered()).provider("plaid")
    assert isinstance(judged(one, plaid(iat=NOW // 1000 - 300)), Received)
    assert "Refused" in str(judged(one, plaid(**claims)))


def test_a_plaid_key_s_id_that_is_none_is_not_asked_for() -> None:
    pages = Pages(answered())
    for kid in ("", "a/b", "x" * 65, 'a"b'):
        assert "(kid)" in refusal(pages.provider("plaid"), plaid(kid))
    assert not pages.asked


def test_plaid_s_settings() -> None:
    with pytest.raises(ConfigurationError, match="client_id is needed"):
        provider("plaid", "s3cret")
    with pytest.raises(ConfigurationError, match="neither 'production' nor"):
        provider("plaid", "s3cret", client_id="c", environment="test")
    assert provider("plaid", "s3cret", pinned=p256_pem(1))


PUBLIC = RSA_KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
).decode()  # fmt: skip


@pytest.mark.parametrize(
    "pinned",
    [certificate(), PUBLIC, certificate() + RSA_PEM, RSA_PEM, json.dumps({"keys": [jwk(RSA_KEY, kid="a")]}),
     OTHER_RSA_PEM + certificate(), json.dumps({"keys": [jwk(P256), jwk(RSA_KEY, private=True)]})],
    ids=range(7),
)  # fmt: skip
def test_pinned_keys_verify_and_none_are_fetched(pinned: str) -> None:
    pages = Pages("")
    one = provider("paypal", secret_of("paypal"), fetch=pages.fetch, pinned=pinned)
    assert received(one, posted(sample("paypal"))).secret == "env:S0"
    assert not pages.asked


def test_a_private_key_signs_wherever_it_stands_and_a_public_one_does_not() -> None:
    body = PACKS["paypal"].sample()
    draft = Draft(body, NOW, "e-1", "a")
    for pinned in (certificate() + RSA_PEM, json.dumps({"keys": [jwk(RSA_KEY, private=True)]})):
        one = provider("paypal", secret_of("paypal"), pinned=pinned)
        assert received(example("paypal"), posted(one.sign(draft)))
    with pytest.raises(InvalidRequest, match="private key"):
        provider("paypal", secret_of("paypal"), pinned=certificate()).sign(draft)
    for nothing in (None, p256_pem(1)):
        with pytest.raises(InvalidRequest, match="in the setting keys"):
            provider("paypal", secret_of("paypal"), pinned=nothing).sign(draft)
    ours = json.dumps({"keys": [jwk(P256, private=True)]})
    signed = provider("plaid", "s3cret", pinned=ours).sign(draft)
    assert received(example("plaid"), posted(signed))


BROKEN = ["", "no key", "{}", '{"keys":[]}', '{"keys":[{"kty":"RSA","n":"!","e":"AQAB"}]}', PUBLIC[:100],
          certificate().replace("A", "B"), '{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}',
          "-----BEGIN SECRET-----\nAAAA\n-----END SECRET-----"]  # fmt: skip


@pytest.mark.parametrize("pinned", BROKEN, ids=range(len(BROKEN)))
def test_pinned_keys_that_are_malformed_are_named_and_not_shown(pinned: str) -> None:
    with pytest.raises(ConfigurationError, match="keys: env:KEYS is malformed") as caught:
        provider("paypal", secret_of("paypal"), pinned=pinned)
    assert pinned[28:60] not in str(caught.value) or not pinned[28:60]
