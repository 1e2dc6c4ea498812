"""Providers' own libraries judge what packs sign, and packs what they sign, on random bodies and secrets."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.signature import Clock, SignatureVerifier
from stripe import SignatureVerificationError, WebhookSignature
from tests.unit.packs.support import NOW, provider, received, refusal, request
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # it has no types

from surehook.packs import PACKS

AT = NOW // 1000
bodies = st.dictionaries(st.text(max_size=8), st.text(max_size=20) | st.integers(), max_size=5).map(
    lambda value: json.dumps(value, ensure_ascii=False)
)
secrets = st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=60).filter(
    lambda text: not text.startswith(("sk_", "rk_", "pk_"))
)


class Fixed(Clock):
    """Slack's verifier asks for the time."""

    def now(self) -> float:
        return float(AT)


@given(body=bodies, secret=secrets, other=secrets)
def test_stripes_library_and_the_pack_agree(body: str, secret: str, other: str) -> None:
    ours = PACKS["stripe"].sign(secret, body.encode(), NOW, external_id="evt_1", type="a").headers
    header = ours["stripe-signature"]
    WebhookSignature.verify_header(body, header, secret)
    if other != secret:
        with pytest.raises(SignatureVerificationError):
            WebhookSignature.verify_header(body, header, other)
    theirs = f"t={AT},v1={WebhookSignature._compute_signature(f'{AT}.{body}', secret)}"
    assert received(provider("stripe", secret), request(body.encode(), {"Stripe-Signature": theirs}))


@given(body=bodies, secret=secrets, other=secrets)
def test_slacks_library_and_the_pack_agree(body: str, secret: str, other: str) -> None:
    ours = PACKS["slack"].sign(secret, body.encode(), NOW, external_id="Ev1", type="a").headers
    headers = {"X-Slack-Signature": ours["x-slack-signature"], "X-Slack-Request-Timestamp": str(AT)}
    assert SignatureVerifier(secret, Fixed()).is_valid_request(body.encode(), headers)
    assert other == secret or not SignatureVerifier(other, Fixed()).is_valid_request(body.encode(), headers)
    theirs = SignatureVerifier(secret).generate_signature(timestamp=str(AT), body=body.encode())
    assert theirs == ours["x-slack-signature"]


fields = st.dictionaries(st.text(min_size=1, max_size=8), st.text(max_size=20), min_size=1, max_size=6)


@given(values=fields, token=st.text("0123456789abcdef", min_size=32, max_size=32))
def test_twilios_library_and_the_pack_agree(values: dict[str, str], token: str) -> None:
    url = "https://hooks.example.com/webhooks/twilio"
    values = {name.encode("utf-8", "replace").decode(): text for name, text in values.items()}
    values = {name: text.encode("utf-8", "replace").decode() for name, text in values.items()}
    body = "&".join(f"{escaped(name)}={escaped(text)}" for name, text in values.items()).encode()
    theirs = RequestValidator(token).compute_signature(url, values)
    sent = {"X-Twilio-Signature": theirs, "Content-Type": "application/x-www-form-urlencoded"}
    one = provider("twilio", token, url=url)
    assert received(one, request(body, sent))
    assert refusal(provider("twilio", token[::-1] + "0", url=url), request(body, sent))


def escaped(text: str) -> str:
    """Every byte, so that nothing is left to how a form is written."""
    return "".join(f"%{byte:02X}" for byte in text.encode())
