"""JSON Web Tokens are taken apart strictly: one spelling, one algorithm, nothing that is not understood."""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.packs.support import NOW

from surehook.clock import Millis
from surehook.packs.request import BadSignature
from surehook.packs.schemes.jwt import (
    LEEWAY,
    LONGEST_TOKEN,
    check_audience,
    check_times,
    parse_compact,
    verify_compact,
    write_compact,
)
from surehook.packs.schemes.keys import HmacKey

SECRET = b"a secret of monday"
KEY = HmacKey("env:S0", SECRET, encoding="base64")
HEADER = b'{"alg":"HS256","typ":"JWT"}'
#: RFC 7515 A.1: a token that another implementation made.
RFC_KEY = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"
RFC_TOKEN = (
    "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9"
    ".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
    ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def token(claims: bytes, header: bytes = HEADER, key: bytes = SECRET) -> str:
    """A signed token of whatever bytes, made without the code under test."""
    signed = f"{encoded(header)}.{encoded(claims)}"
    return f"{signed}.{encoded(hmac.digest(key, signed.encode(), 'sha256'))}"


def refused(text: str) -> str:
    with pytest.raises(BadSignature) as caught:
        verify_compact(text, "HS256", [KEY])
    return str(caught.value)


def test_the_example_of_the_rfc_is_verified() -> None:
    key = HmacKey("env:RFC", base64.urlsafe_b64decode(RFC_KEY + "=="), encoding="base64")
    claims, reference = verify_compact(RFC_TOKEN, "HS256", [KEY, key])
    assert (reference, claims["iss"], claims["exp"]) == ("env:RFC", "joe", 1300819380)
    header, _, signed, signature = parse_compact(RFC_TOKEN, "HS256")
    assert header == {"typ": "JWT", "alg": "HS256"}
    assert signed == RFC_TOKEN.rpartition(".")[0].encode()
    assert len(signature) == 32


@given(st.dictionaries(st.text(max_size=10), st.integers(-(2**50), 2**50) | st.text(max_size=10), max_size=5))
def test_what_is_written_is_verified_here_and_elsewhere(claims: dict[str, Any]) -> None:
    written = write_compact(claims, "HS256", KEY)
    assert verify_compact(written, "HS256", [KEY]) == (claims, "env:S0")
    signed, _, signature = written.rpartition(".")
    assert signature == encoded(hmac.digest(SECRET, signed.encode(), "sha256"))
    assert json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "==")) == claims


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b'{"alg":"none"}', "not signed by HS256"), (b'{"alg":"HS512"}', "not signed by HS256"),
        (b"{}", "not signed by HS256"),
        (b'{"alg":"hs256"}', "not signed by HS256"), (b'{"alg":["HS256"]}', "not signed by HS256"),
        (b'{"alg":"HS256","crit":["exp"]}', "critical"), (b'{"alg":"HS256","crit":[]}', "critical"),
        (b'{"alg":"none","alg":"HS256"}', "no JSON object"), (b"[]", "no JSON object"), (b'"HS256"', "no JSON object"),
        (b'{"alg":"HS256","x":NaN}', "no JSON object"), (b'{"alg":"HS256"}\xff', "no JSON object"),
        (b'{"alg":"HS256","x":{"a":1,"a":2}}', "no JSON object"), (b"{" * 5000, "no JSON object"),
        ('{"alg":"HS256"}'.encode("utf-16"), "no JSON object"),
    ],
)  # fmt: skip
def test_a_header_that_is_not_as_expected_is_refused(header: bytes, message: str) -> None:
    assert message in refused(token(b"{}", header))


@pytest.mark.parametrize(
    "claims", [b"", b"[]", b"{", b'{"exp":1,"exp":2}', b"\xef\xbb\xbf{}", b"null", b"[" * 9000]
)
def test_claims_that_are_no_plain_object_are_refused(claims: bytes) -> None:
    assert "the token's claims" in refused(token(claims))


def test_a_token_has_one_spelling() -> None:
    good = token(b'{"sub":"a"}')
    assert verify_compact(good, "HS256", [KEY])
    head, _, signature = good.rpartition(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    altered = signature[:-1] + alphabet[alphabet.index(signature[-1]) ^ 1]
    assert base64.urlsafe_b64decode(altered + "=") == base64.urlsafe_b64decode(signature + "=")
    for other in (
        f"{head}.{altered}", f"{good}=", f"{good}.", f".{good}", f"{good}\n", f" {good}", head, f"{head}.", f"{head}.\xe9",
        f"{head}.{signature[:20]}+{signature[21:]}", f"{head}.{signature[:-2]}",
        f"Bearer {good}", good.replace(".", "..", 1),
    ):  # fmt: skip
        assert refused(other)


def test_a_token_that_is_too_long_is_not_looked_at() -> None:
    room = token(b'{"a":"%b"}' % (b"x" * 12_000))
    assert len(room) <= LONGEST_TOKEN
    assert verify_compact(room, "HS256", [KEY])
    assert "longer than" in refused(token(b'{"a":"%b"}' % (b"x" * 13_000)))


def test_only_a_live_secret_signs() -> None:
    assert "no live secret" in refused(token(b"{}", key=b"another"))


SECONDS = NOW // 1000
SLACK = LEEWAY // 1000


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"exp": SECONDS}, None), ({"exp": SECONDS + 0.5}, None), ({"exp": SECONDS - SLACK + 1}, None),
        ({"exp": SECONDS + 10, "nbf": SECONDS, "iat": SECONDS + SLACK}, None),
        ({"exp": SECONDS - SLACK}, "expired"), ({"exp": 0}, "expired"), ({"exp": -(10**11)}, "expired"),
        ({"exp": SECONDS + 10, "nbf": SECONDS + SLACK + 1}, "not valid yet"),
        ({"exp": SECONDS + 10, "iat": SECONDS + SLACK + 1}, "not valid yet"),
        ({}, "exp is no time"), ({"exp": None}, "exp is no time"), ({"exp": str(SECONDS)}, "exp is no time"),
        ({"exp": True}, "exp is no time"), ({"exp": [SECONDS]}, "exp is no time"), ({"exp": float("inf")}, "exp is no time"),
        ({"exp": float("nan")}, "exp is no time"), ({"exp": 10**400}, "exp is no time"),
        ({"exp": SECONDS + 10, "nbf": "now"}, "nbf is no time"), ({"exp": SECONDS + 10, "iat": None}, "iat is no time"),
    ],
)  # fmt: skip
def test_a_token_is_valid_for_its_time(claims: dict[str, Any], message: str | None) -> None:
    if message is None:
        check_times(claims, Millis(NOW))
        return
    with pytest.raises(BadSignature, match=message):
        check_times(claims, Millis(NOW))


@pytest.mark.parametrize(
    ("audience", "good"),
    [("a", True), (["x", "a"], True), (["x"], False), ("", False), (None, False), ([["a"]], False), ({"a": 1}, False),
     ("A", False)],
)  # fmt: skip
def test_a_token_is_meant_for_somebody(audience: Any, good: bool) -> None:
    if good:
        check_audience({"aud": audience}, {"a", "b"})
        return
    with pytest.raises(BadSignature, match="another audience"):
        check_audience({"aud": audience}, {"a", "b"})
    with pytest.raises(BadSignature, match="another audience"):
        check_audience({}, {"a"})
